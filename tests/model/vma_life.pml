/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMAs whose memory is used again: Linux 6.15 and later, for spin.
 *
 * One vCPU faults at an address of the mm A, while a process maps and unmaps
 * there and at another address of A, and one in the mm B maps, unmaps, and is
 * replaced (exec, or exit and a fork).  Both take their VMAs from one slab cache,
 * which has SLOTS places.  Each mm counts its write sections from the same number
 * on.
 *
 * The rest of the protocol, and the order of stores, is in
 * speculative_fault.pml, whose VMAs are never used twice.  Here a store is seen
 * at once, and each step of this model is one load or one store.
 *
 * The vCPU			in the series for 7.3
 *   look-up			spf_find_vma()
 *   hint			spf_hint_holds(): an earlier fault's look-up
 *   copy			spf_snapshot()
 *   lock ... unlock		spf_try_lock_pte(), spf_validate()
 * The writers			in the kernel
 *   alloc()			vm_area_dup(): the fields, then vma_lock_init()
 *   start_write()		vma_start_write()
 *   free()			vm_area_free()
 *   op_munmap			do_vmi_align_munmap(): the section ends, by the
 *				downgrade, before the pages go; or the VMA is
 *				freed before the section ends, as vma_complete()
 *				does
 *   op_split			__split_vma(), vma_merge(): a field changes
 *
 * -DBREAK_* takes a rule away and must give a counter-example:
 *   BREAK_GRACE		the memory is used again at once, by SLAB_TYPESAFE_BY_RCU
 *   BREAK_RCU_EARLY	the read-side section ends with the copy
 *   BREAK_REFCNT	vm_refcnt of the copy is not looked at
 *   BREAK_SEQ		vm_lock_seq is not compared under the lock
 *   BREAK_HINT_SEQ	mm_lock_seq is not compared before the hint is used
 *   BREAK_HINT_LATE	the number is read after the look-up
 *   BREAK_HINT_ODD	a look-up in a write section gives a hint, too
 *
 * Alternatives to the grace period, with -DBREAK_GRACE and -DNO_HINT:
 *   LOOK=1		vm_refcnt, vm_mm, vm_lock_seq, in this order: fails
 *   LOOK=2		vm_refcnt, vm_lock_seq, vm_mm: fails
 *   LOOK=3		vm_mm, vm_lock_seq, vm_mm: fails
 *   LIFE		vm_mm of the copy, and a count of the lives of the memory,
 *			looked at last: holds
 *   MM_SEQ		the mm's own sequence, mmap_lock_speculate_try_begin(): holds
 *
 * The model claims: no page is where nothing is mapped, and none has an anon_vma
 * that is not the VMA's.
 */

#ifndef SLOTS
#define SLOTS	1
#endif
#ifndef OPS
#define OPS	4		/* of the writer of A */
#endif
#define B_OPS	2		/* of that of B */
#ifndef LOOK
#define LOOK	0
#endif

/* mms; the VMA of each at one address; and A's VMA at another */
#define A	0
#define B	1
#define A2	2
#define NONE	15
#define FIRST	3		/* the number of the write section that made A's VMA */

/* Fields of a VMA, by its place in the slab cache. */
byte vm_mm[SLOTS];
byte vm_start[SLOTS];
byte vm_seq[SLOTS];
byte vm_anon[SLOTS];
byte vm_refcnt[SLOTS];
byte life[SLOTS];		/* how often the memory has become a VMA */
bit unused[SLOTS];
bit dying[SLOTS];		/* until the end of a grace period */

byte tree[3] = NONE;
byte mm_seq[2];			/* odd in a write section */
bit ptl;			/* of A's one page table */
byte pte;			/* 0, or the anon_vma of the page */
bit rcu;			/* is the vCPU in a read-side section? */
bit done;			/* and is its fault over? */
byte nanon;

#ifdef MM_SEQ
#define changed(x)	(mm_seq[A] != mms)
#else
#define changed(x)	(vm_seq[x] != seq)
#endif
#define forget()	hint = NONE; hseq = 0
#define give_up_if(x)	if :: (x) -> goto out :: else fi

/* Is it still the same VMA?  Each look is a step of its own. */
inline looks()
{
#if LOOK == 1 || LOOK == 3
	atomic { if :: vm_refcnt[v] == 0 || vm_mm[v] != A -> ok = 0 :: else fi }
#endif
	atomic { if :: changed(v) -> ok = 0 :: else fi }
#if LOOK == 2
	atomic { if :: vm_refcnt[v] == 0 || vm_mm[v] != A -> ok = 0 :: else fi }
#endif
#if LOOK == 3
	atomic { if :: vm_mm[v] != A -> ok = 0 :: else fi }
#endif
#ifdef LIFE
	atomic { if :: life[v] != born -> ok = 0 :: else fi }
#endif
}

#ifndef NO_HINT
/* What a fault of the vCPU before this one has found. */
inline earlier()
{
	rcu = 1;
#ifndef BREAK_HINT_LATE
	hseq = mm_seq[A];
#endif
	hint = tree[A];
#ifdef BREAK_HINT_LATE
	hseq = mm_seq[A];
#endif
#ifndef BREAK_HINT_ODD
	if :: hseq % 2 -> forget() :: else fi;
#endif
	rcu = 0
}
#endif

proctype vcpu()
{
	byte v, seq, mms, anon, gone, born, mm, start, hint = NONE, hseq;
	bit ok = 1;

#ifndef NO_HINT
	earlier();
#endif
	rcu = 1;
#ifdef MM_SEQ
	/* mmap_lock_speculate_try_begin() */
	atomic { mms = mm_seq[A]; give_up_if(mms % 2) }
#endif
	atomic {
		if
#ifdef BREAK_HINT_SEQ
		:: hint != NONE -> v = hint
		:: hint == NONE -> v = tree[A]
#else
		:: hint != NONE && mm_seq[A] == hseq -> v = hint
		:: else -> v = tree[A]
#endif
		fi;
		forget();
		give_up_if(v == NONE)
	}
#ifdef LIFE
	born = life[v];
#endif
#ifndef MM_SEQ
	seq = vm_seq[v];
	atomic { give_up_if(seq == mm_seq[A]) }
#endif
	/* The copy; its other fields behave as these two do. */
	anon = vm_anon[v];
	gone = (vm_refcnt[v] == 0);
	start = vm_start[v];
#ifdef LIFE
	mm = vm_mm[v];
#endif
	looks();
	give_up_if(!ok || mm != A || start != A);
#if !defined(BREAK_REFCNT) && !defined(MM_SEQ)
	give_up_if(gone);
#endif
#ifdef BREAK_RCU_EARLY
	rcu = 0;
#endif

	atomic { !ptl -> ptl = 1 }
#ifndef BREAK_SEQ
	looks();
#endif
	if
	:: ok && pte == 0 -> pte = anon
	:: else
	fi;
	ptl = 0;
out:
	atomic { rcu = 0; done = 1 }
}

/* kfree_rcu(): the slab has it once no reader is left that may have seen it. */
proctype grace()
{
	byte i;
end:
	do
	:: atomic { dying[0] && !rcu -> dying[0] = 0; unused[0] = 1 }
#if SLOTS == 2
	:: atomic { dying[1] && !rcu -> dying[1] = 0; unused[1] = 1 }
#endif
	od
}

inline section(m)
{
	mm_seq[m] = mm_seq[m] + 1
}

/* Leaves NONE in n if there is no memory. */
inline alloc(m, place)
{
	atomic {
		n = NONE;
		if
		:: unused[0] -> n = 0
#if SLOTS == 2
		:: unused[1] -> n = 1
#endif
		:: else
		fi;
		if
		:: n != NONE -> unused[n] = 0; life[n]++
		:: else
		fi
	}
	if
	:: n != NONE ->
		/* Until the last of these stores the number is that of the life before. */
		vm_mm[n] = m;
		/* B maps at the address where A does. */
		vm_start[n] = (place == B -> A : place);
		d_step { nanon++; vm_anon[n] = nanon };
		d_step { vm_refcnt[n] = 0; vm_seq[n] = 255 }
	:: else
	fi
}

inline start_write(x, m)
{
	vm_seq[x] = mm_seq[m]
}

inline free(x)
{
#ifdef BREAK_GRACE
	unused[x] = 1
#else
	dying[x] = 1
#endif
}

inline op_mmap(m, place)
{
	alloc(m, place);
	if
	:: n != NONE ->
		section(m);
		start_write(n, m);
		vm_refcnt[n] = 1;
		tree[place] = n;
		section(m)
	:: else
	fi
}

inline clear(place)
{
	if
	:: place == A ->
		atomic { !ptl -> ptl = 1 };
		pte = 0;
		ptl = 0
	:: else
	fi
}

inline op_munmap(m, place)
{
	n = tree[place];
	section(m);
	start_write(n, m);
	vm_refcnt[n] = 0;
	tree[place] = NONE;
	if
	:: section(m); clear(place); free(n)
	:: clear(place); free(n); n = NONE; section(m)
	fi
}

/* As a model of new pages, the pages that are there get the new anon_vma. */
inline op_split()
{
	n = tree[A];
	section(A);
	start_write(n, A);
	d_step { nanon++; vm_anon[n] = nanon };
	atomic { !ptl -> ptl = 1 };
	if
	:: pte -> pte = vm_anon[n]
	:: else
	fi;
	ptl = 0;
	section(A)
}

inline check()
{
	assert(tree[A] != NONE || pte == 0);
	assert(tree[A] == NONE || pte == 0 || pte == vm_anon[tree[A]])
}

proctype writer_a()
{
	byte n, op;

	do
	:: op < OPS ->
		op++;
		if
		:: tree[A] != NONE -> op_munmap(A, A)
		:: tree[A] != NONE -> op_split()
		:: tree[A] == NONE -> op_mmap(A, A)
		:: tree[A2] == NONE -> op_mmap(A, A2)
		:: tree[A2] != NONE -> op_munmap(A, A2)
		fi;
		d_step { check(); n = 0 }
	:: op == OPS -> break
	od;
	/* Check the end of the fault. */
	done;
	check()
}

proctype writer_b()
{
	byte n, op;

	do
	:: op < B_OPS ->
		op++;
		if
		:: tree[B] == NONE -> op_mmap(B, B)
		:: tree[B] != NONE ->
			op_munmap(B, B);
			/* The next process counts from the beginning, too. */
			mm_seq[B] = FIRST - 1
		fi;
		n = 0
	:: op == B_OPS -> break
	od
}

init {
	d_step {
		tree[A] = 0;
		vm_mm[0] = A;
		vm_start[0] = A;
		vm_seq[0] = FIRST;
		vm_anon[0] = 1;
		vm_refcnt[0] = 1;
		nanon = 1;
		mm_seq[A] = FIRST + 1;
		mm_seq[B] = FIRST - 1;
#if SLOTS == 2
		unused[1] = 1
#endif
	}
	atomic { run vcpu(); run grace(); run writer_a(); run writer_b() }
}
