// SPDX-License-Identifier: GPL-2.0-or-later
#include "course.h"

void course__add(struct course *course, double at, uint64_t touched)
{
	/* The guest's clock and the host's are not read at once.  Keep each point at or after the one before. */
	if (course->points && at < course->at[course->points - 1])
		at = course->at[course->points - 1];
	course->at[course->points] = at;
	course->touched[course->points++] = touched;
}

static double touched_by(const struct course *course, double at)
{
	for (unsigned int i = 1; i < course->points; i++)
		if (at < course->at[i])
			return course->touched[i - 1] + (course->touched[i] - course->touched[i - 1]) *
			       (at > course->at[i - 1] ? at - course->at[i - 1] : 0) /
			       (course->at[i] - course->at[i - 1]);
	return course->touched[course->points - 1];
}

/* The time by which so many touches are done. */
static double when(const struct course *course, unsigned int n, double touched)
{
	double low = course->at[0], high = low;

	for (unsigned int i = 0; i < n; i++) {
		low = course[i].at[0] < low ? course[i].at[0] : low;
		high = course[i].at[course[i].points - 1] > high ? course[i].at[course[i].points - 1] : high;
	}
	while (high - low > 1) {
		double middle = (low + high) / 2, sum = 0;

		for (unsigned int i = 0; i < n; i++)
			sum += touched_by(&course[i], middle);
		if (sum < touched)
			low = middle;
		else
			high = middle;
	}
	return high;
}

double courses__middle(const struct course *course, unsigned int n)
{
	uint64_t all = 0;

	for (unsigned int i = 0; i < n; i++)
		all += course[i].touched[course[i].points - 1];
	return 0.8 * all * 1e9 / (when(course, n, 0.9 * all) - when(course, n, 0.1 * all));
}
