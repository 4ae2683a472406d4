/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The validation protocol of speculative page faults, for spin.
 *
 * One or two vCPUs fault while one process changes the address space.  Spin
 * searches all interleavings, and all orders in which the writer's stores may
 * become visible.  tests/model/test_model.py runs it.  Each -DBREAK_* takes one
 * rule away, and must give a counter-example.
 *
 * The vCPU			in the series
 *   mmu_seq			kvm_faultin_pfn(), before hva_to_pfn()
 *   look-up			speculative_fault()
 *   announce			spf_announced()
 *   copy			spf_snapshot()
 *   what is served		spf_supported()
 *   policy			spf_alloc_folio()
 *   walk, IRQs off		spf_walk()
 *   trylock ... unlock		spf_try_lock_pte(), spf_validate()
 *   retry			spf_install()
 *   map in the guest		mmu_invalidate_retry(), under KVM's mmu_lock
 *   (spf_peek() is a hint and changes nothing: left out.)
 *
 * The writer			in the kernel
 *   start_write()		vma_start_write(), with the series' smp_wmb()
 *   section()/section_end()	mmap_write_lock(), vma_end_write_all()
 *   op_munmap, op_shrink	do_vmi_align_munmap(), __split_vma(),
 *				zap_pte_range(), free_pgtables(),
 *				tlb_finish_mmu()
 *   op_mprotect		mprotect_fixup(), change_pte_range()
 *   op_mremap			move_vma(): move_normal_pmd() or move_ptes()
 *   op_fork			dup_mmap(), copy_pte_range()
 *   op_uffd			userfaultfd_register(), speculative_fault_drain()
 *   op_collapse		collapse_huge_page()
 *   op_split_huge		__split_huge_pmd()
 *   op_mbind			vma_replace_policy(), __mpol_put()
 *   op_reap			__oom_reap_task_mm()
 *   op_dontneed		zap_page_range_single(), mmap_lock for read
 *   op_mmap			mmap_region()
 *   op_fault			do_anonymous_page() under a lock; allocates the
 *				table and the anon_vma
 *   op_retract			retract_page_tables(), only with -DFILE
 *
 * Memory.  Two places of address space, A and B, of two pages and one page
 * table each; up to NV VMAs and NT tables, never used twice.  The fields of VMAs
 * and mm_lock_seq are written through a buffer that `memory' empties in any
 * order: a store becomes visible late, unless a barrier or a release comes
 * between.  up_write() of vma->vm_lock is a release that later stores may pass.
 * No process of the model takes that lock, so it orders nothing.  Loads are made
 * in program order.  If a missing barrier would let a load move, the BREAK_ of
 * that barrier makes the load elsewhere.  Stores to page tables are visible at
 * once: an unlock or an IPI follows them, and no code relies on them before.
 *
 * The model waits for an IPI as "that CPU has had its IRQs on", and for an RCU
 * grace period as "that CPU has been outside of a read-side section".
 *
 * The model claims: no PTE outlives its VMA, is writable where the VMA is not,
 * has a wrong anon_vma or index, or is set in a table that is freed, deposited
 * or retracted; none is lost by being overwritten; a table that is freed is
 * empty; no table is left where nothing is mapped; nothing is filled after
 * UFFDIO_REGISTER has returned or the OOM reaper is through; no policy, lock or
 * table is used after it is freed; no page stays mapped in the guest that the
 * VMM has unmapped, moved or protected; no process waits for ever.
 */

#ifndef OPS
#define OPS	2		/* how many operations the writer does, one after another */
#endif
#ifndef HISTORY
#define HISTORY	0		/* and how many before the vCPUs start */
#endif
#ifndef VCPUS
#define VCPUS	1
#endif
#define NV	(1 + OPS + HISTORY)
#define NT	3
#define TRIES	2		/* SPF_PTL_TRIES */

#define A	0
#define B	1
#define NOVMA	15

/* -- memory that is written without the reader's lock -- */

#define F_SEQ	0
#define F_FLAGS	1		/* W and UFFD */
#define F_START	2		/* in pages from the beginning of the place */
#define F_PGOFF	3
#define F_ANON	4		/* number of the anon_vma, 0: none */
#define F_GONE	5		/* detached */
#define F_POL	6
#define NF	7

#define W	1
#define UFFD	2

#define X(v, f)	((v) * NF + (f))
#define MMSEQ	(NV * NF)

byte mem[NV * NF + 1];
/* Each may have one store under way; 0: none, else the value plus one. */
byte buf[NV * NF + 1];
byte nbuf;			/* how many are under way */

inline store(x, val)
{
	atomic {
		if
		:: buf[x] == 0 -> nbuf++
		:: else
		fi;
		buf[x] = (val) + 1
	}
}

/* The writer's own view.  Spin takes no such expression as an argument of an inline. */
#define own(x)	(buf[x] -> buf[x] - 1 : mem[x])

/* smp_wmb(), release, full barrier. */
#define barrier	(nbuf == 0)

active proctype memory()
{
	byte x;
end:
	do
	:: atomic {
		nbuf > 0 ->
		x = 0;
		do
		:: buf[x] != 0 -> break
		:: x < MMSEQ -> x++
		:: buf[x] == 0 && x == MMSEQ -> goto none
		od;
		mem[x] = buf[x] - 1;
		buf[x] = 0;
		nbuf--;
none:
		x = 0
	   }
	od
}

/* -- the rest of the address space -- */

byte tree[4] = NOVMA;		/* VMA by place and page */
byte pmd[2];			/* of a place: 0, a table's number and one, or: */
#define HUGE	8		/* plus W */
byte deposited[2];		/* the table kept with a huge pmd */

mtype = { absent, live, withdrawn, freed };
mtype table[NT] = absent;
bit ptl[NT];			/* lock of a table */
bit ptl_freed[NT];
byte pte[NT * 2];		/* 0, or PRESENT and: */
#define PRESENT	1
#define PTE_W	2
#define PTE_COW	4
#define pte_make(w, anon, idx)	(PRESENT + (w) * PTE_W + (anon) * 8 + (idx) * 32)
#define pte_anon(p)		(((p) / 8) % 4)
#define pte_idx(p)		((p) / 32)
#define is_table(p)		((p) > 0 && (p) < HUGE)

bit irqs[VCPUS] = 1;		/* on? */
byte rcu[VCPUS];			/* in a read-side section? */
bit unstable;			/* MMF_UNSTABLE */
bit reaped;
bit armed[NV];			/* UFFDIO_REGISTER has returned */
bit policy_freed[NV];		/* each operation makes one at most */

bit mm_writer;			/* mmap_lock held for write? */
bit announced;			/* MMF_SPECULATIVE */

/* KVM: the guest's mapping, and the count of invalidations. */
byte spte[4];
byte mmu_seq, in_progress;

byte nvma, ntable, npolicy, nanon;
byte mmseq;			/* mm_lock_seq as its only writer knows it */
byte done;

/* -- vCPU -- */

/* Each atomic has one access to shared state; the rest of it is the vCPU's own. */
#define give_up_if(x)	if :: (x) -> goto out :: else fi
#define load(f)		mem[X(v, f)]

inline put_ptl()
{
	d_step {
		assert(table[t] != freed && !ptl_freed[t]);
		ptl[t] = 0
	}
}

proctype vcpu(byte me)
{
	byte place, page, seen, v, seq, mms, flags, start, pgoff, anon, gone, pol;
	byte pm, t, tries, got;

	atomic {
		if
		:: place = A
		:: place = B
		fi;
		if
		:: page = 0
		:: page = 1
		fi
	}
#ifndef BREAK_MMU_SEQ
	seen = mmu_seq;
#endif
	atomic {
		rcu[me] = 1;
		v = tree[place * 2 + page];
		give_up_if(v == NOVMA)
	}

#ifndef BREAK_ANNOUNCE
	/* A trylock; the release of a writer orders its stores before. */
	atomic {
		if
		:: announced
		:: else ->
			give_up_if(mm_writer || buf[MMSEQ] != 0);
			announced = 1
		fi
	}
#endif

#ifdef BREAK_SEQ_ACQUIRE
	mms = mem[MMSEQ];
	seq = load(F_SEQ);
#elif defined(BREAK_MMSEQ_ACQUIRE)
	seq = load(F_SEQ);
	/* The copy may then be made before the number is loaded. */
	flags = load(F_FLAGS);
	mms = mem[MMSEQ];
#else
	seq = load(F_SEQ);
	mms = mem[MMSEQ];
#endif
#ifndef BREAK_BUSY
	atomic { give_up_if(seq == mms) }
#endif

	start = load(F_START);
	pgoff = load(F_PGOFF);
#ifndef BREAK_MMSEQ_ACQUIRE
	flags = load(F_FLAGS);
#endif
	/* No section changes two of these. */
	d_step { anon = load(F_ANON); gone = load(F_GONE); pol = load(F_POL) }

	atomic {
		give_up_if(load(F_SEQ) != seq);
#ifndef BREAK_DETACHED
		give_up_if(gone);
#endif
#ifndef BREAK_BOUNDS
		give_up_if(page < start);
#endif
#ifndef BREAK_ANON_VMA
		give_up_if(anon == 0);
#endif
		give_up_if(!(flags & W) || (flags & UFFD))
	}
	assert(!policy_freed[pol]);

retry:
#ifdef BREAK_CHECK_BEFORE_LOCK
	atomic { give_up_if(load(F_SEQ) != seq) }
#endif
	atomic {
#ifndef BREAK_IRQS_ON
		irqs[me] = 0;
#endif
		pm = pmd[place];
		t = pm - 1;
		if
		:: !is_table(pm) -> goto no_table
		:: else
		fi
	}
	/* The lock lies in the table's struct page, or is allocated apart. */
	assert(table[t] != freed && !ptl_freed[t]);
#ifdef BREAK_TRYLOCK
	atomic { !ptl[t] -> ptl[t] = 1 };
#else
	atomic {
		got = !ptl[t];
		ptl[t] = 1;
		if
		:: !got -> goto busy
		:: else
		fi
	}
#endif
#ifdef BREAK_IRQS_EARLY
	irqs[me] = 1;
#endif
#ifndef BREAK_PMD_SAME
	atomic {
		if
		:: pmd[place] != pm -> put_ptl(); goto busy
		:: else
		fi
	}
#endif
#if !defined(BREAK_SEQ) && !defined(BREAK_CHECK_BEFORE_LOCK)
	atomic {
		if
		:: load(F_SEQ) != seq -> goto unlock
		:: else
		fi
	}
#endif
	assert(table[t] != freed);
	atomic {
		if
#ifndef BREAK_PTE_NONE
		:: pte[t * 2 + page] != 0 -> goto unlock
#endif
#ifndef BREAK_STABLE
		:: unstable -> goto unlock
#endif
		:: else
		fi
	}
#ifdef BREAK_RMB
	/* Copied after the checks, as if the VMA were read in place. */
	pgoff = load(F_PGOFF);
#endif

#ifdef BREAK_ANNOUNCE
	/* Without the lock, the store may pass the load of the number. */
	announced = 1;
#endif

	irqs[me] = 1;
	d_step {
		assert(table[t] == live);
		assert(pte[t * 2 + page] == 0);
		assert(!armed[v] && !reaped);
		assert(pgoff + page >= start);
		pte[t * 2 + page] = pte_make(1, anon, pgoff + page - start)
	}
	atomic { put_ptl(); rcu[me] = 0 }

#ifdef BREAK_MMU_SEQ
	seen = mmu_seq;
#endif
	/* The page is mapped unless its mapping in the VMM may be out of date. */
	atomic {
		if
		:: in_progress == 0 && mmu_seq == seen -> spte[place * 2 + page] = W
		:: else
		fi;
		goto out
	}

no_table:
#ifdef BREAK_INSTALL_TABLE
	/* Validated, and under the lock of the pmd, as a PTE would be. */
	atomic { give_up_if(load(F_SEQ) != seq) }
	d_step {
		if
		:: pmd[place] == 0 && ntable < NT ->
			table[ntable] = live;
			ntable++;
			pmd[place] = ntable
		:: else
		fi
	}
#endif
	goto out;

busy:
	atomic {
		irqs[me] = 1;
		tries++;
		if
		:: tries < TRIES -> goto retry
		:: else -> goto out
		fi
	}

unlock:
#ifdef BREAK_UNLOCK_LATE
	irqs[me] = 1;
#endif
	atomic { got = 0; put_ptl(); irqs[me] = 1 }

out:
	atomic {
		irqs[me] = 1;
		rcu[me] = 0;
		done++;
		/* Forget values, for fewer states. */
		place = 0; page = 0; seen = 0; v = 0; seq = 0; mms = 0; flags = 0; start = 0; pgoff = 0;
		anon = 0; gone = 0; pol = 0; pm = 0; t = 0; tries = 0; got = 0
	}
}

/* -- writer -- */

inline section()
{
	mm_writer = 1;
	mmseq++;
	store(MMSEQ, mmseq);
	barrier
}

inline section_end()
{
	barrier;
	mmseq++;
	store(MMSEQ, mmseq);
	mm_writer = 0
}

/* The lock is dropped after the section, and is a release. */
inline unlock_mm()
{
	section_end();
	barrier
}

inline start_write(vv)
{
	store(X(vv, F_SEQ), mmseq);
#ifndef BREAK_WMB
	barrier
#endif
}

inline lock(tt)
{
	atomic { !ptl[tt] -> ptl[tt] = 1 }
}

inline unlock(tt)
{
	barrier;
	ptl[tt] = 0
}

inline ipi()
{
	barrier;
#ifdef BREAK_REMOTE_MM
	skip			/* the vCPU's CPU is not in mm_cpumask() */
#else
	irqs[0];
	irqs[VCPUS - 1]
#endif
}

inline grace_period()
{
	barrier;
	rcu[0] == 0;
	rcu[VCPUS - 1] == 0
}

/* mmu_notifier_invalidate_range_start() and _end(), of one place */
inline invalidate(p)
{
	d_step { barrier; in_progress++; spte[(p) * 2] = 0; spte[(p) * 2 + 1] = 0 }
}

inline invalidated()
{
	d_step { barrier; in_progress--; mmu_seq++ }
}

inline free_table(tt)
{
	d_step {
		assert(pte[(tt) * 2] == 0 && pte[(tt) * 2 + 1] == 0);
		table[tt] = freed;
		ptl_freed[tt] = 1
	}
}

/* The PTEs of pages first to 1 of a place.  A batch may be flushed half-way. */
inline zap(p, last)
{
	if
	:: is_table(pmd[p]) ->
		t = pmd[p] - 1;
		lock(t);
		if
		:: ipi()
		:: true
		fi;
		d_step {
			pte[t * 2] = 0;
			if
			:: last == 1 -> pte[t * 2 + 1] = 0
			:: else
			fi;
		}
		unlock(t)
	:: pmd[p] >= HUGE ->
		t = deposited[p] - 1;
		pmd[p] = 0;
		ipi();
		free_table(t)
	:: else
	fi
}

inline free_pgtables(p)
{
	if
	:: is_table(pmd[p]) ->
		t = pmd[p] - 1;
		pmd[p] = 0;
#ifdef BREAK_PTL_FREE
		ptl_freed[t] = 1;
#endif
		ipi();
		free_table(t)
	:: else
	fi
}

inline split_huge(p)
{
	if
	:: pmd[p] >= HUGE ->
		t = deposited[p] - 1;
		v = tree[p * 2 + 1];
		d_step {
			assert(pte[t * 2] == 0 && pte[t * 2 + 1] == 0);
			table[t] = live;
			pte[t * 2] = pte_make(pmd[p] & W, own(X(v, F_ANON)), 0);
			pte[t * 2 + 1] = pte_make(pmd[p] & W, own(X(v, F_ANON)), 1);
			pmd[p] = t + 1
		}
	:: else
	fi
}

inline op_munmap(p)
{
	section();
	v = tree[p * 2];
	if
	:: v != NOVMA -> start_write(v); store(X(v, F_GONE), 1)
	:: else
	fi;
	v = tree[p * 2 + 1];
	if
	:: v != tree[p * 2] -> start_write(v); store(X(v, F_GONE), 1)
	:: else
	fi;
	barrier;
	d_step { tree[p * 2] = NOVMA; tree[p * 2 + 1] = NOVMA }
	section_end();
	invalidate(p);
	zap(p, 1);
	invalidated();
	free_pgtables(p);
	barrier
}

/* munmap() of the first page of a VMA of two */
inline op_shrink(p)
{
	section();
	v = tree[p * 2];
	n = nvma;
	d_step {
		nvma++;
		/* No vCPU has seen it yet. */
		mem[X(n, F_FLAGS)] = own(X(v, F_FLAGS));
		mem[X(n, F_ANON)] = own(X(v, F_ANON));
		npolicy++;		/* mpol_dup() */
		mem[X(n, F_POL)] = npolicy;
		armed[n] = armed[v]
	}
	start_write(v);
	start_write(n);
	split_huge(p);
	v = tree[p * 2];
	store(X(v, F_START), 1);
	store(X(v, F_PGOFF), 1);
	barrier;
	tree[p * 2] = n;
	store(X(n, F_GONE), 1);
	barrier;
	tree[p * 2] = NOVMA;
	section_end();
	invalidate(p);
	zap(p, 0);
	invalidated();
	barrier
}

inline op_mprotect(p)
{
	section();
	v = tree[p * 2 + 1];
	start_write(v);
	n = own(X(v, F_FLAGS)) ^ W;
	store(X(v, F_FLAGS), n);
	invalidate(p);
	if
	:: is_table(pmd[p]) ->
		t = pmd[p] - 1;
		lock(t);
		if
		:: (own(X(v, F_FLAGS)) & W) == 0 ->
			d_step {
				pte[t * 2] = pte[t * 2] & (255 - PTE_W);
				pte[t * 2 + 1] = pte[t * 2 + 1] & (255 - PTE_W)
			}
		:: else
		fi;
		unlock(t);
		ipi()
	:: pmd[p] >= HUGE ->
		pmd[p] = HUGE;
		ipi()
	:: else
	fi;
	invalidated();
	unlock_mm()
}

/* From A to B.  Where nothing is at B's pmd, the table moves as a whole. */
inline op_mremap()
{
	section();
	v = tree[A * 2 + 1];
	start_write(v);
	n = nvma;
	d_step {
		nvma++;
		mem[X(n, F_FLAGS)] = own(X(v, F_FLAGS));
		mem[X(n, F_START)] = own(X(v, F_START));
		mem[X(n, F_PGOFF)] = own(X(v, F_PGOFF));
		mem[X(n, F_ANON)] = own(X(v, F_ANON));
		npolicy++;
		mem[X(n, F_POL)] = npolicy
	}
	start_write(n);
	barrier;
	d_step {
		tree[B * 2 + 1] = n;
		if
		:: tree[A * 2] != NOVMA -> tree[B * 2] = n
		:: else
		fi
	}
	invalidate(A);
	if
	:: pmd[A] != 0 ->
		/* move_normal_pmd(), move_huge_pmd() */
		d_step { deposited[B] = deposited[A]; pmd[B] = pmd[A]; pmd[A] = 0 };
		ipi()
	:: is_table(pmd[A]) && ntable < NT ->
		/* move_ptes() */
		t = pmd[A] - 1;
		u = ntable;
		d_step { ntable++; table[u] = live; pmd[B] = u + 1 };
		lock(t);
		lock(u);
		d_step {
			pte[u * 2] = pte[t * 2];
			pte[u * 2 + 1] = pte[t * 2 + 1];
			pte[t * 2] = 0;
			pte[t * 2 + 1] = 0
		}
		ipi();
		unlock(u);
		unlock(t)
	:: pmd[A] == 0
	fi;
	invalidated();

	/* do_vmi_munmap() of the old place, or MREMAP_DONTUNMAP */
	if
	:: true ->
	   store(X(v, F_GONE), 1);
	   barrier;
	   d_step { tree[A * 2] = NOVMA; tree[A * 2 + 1] = NOVMA };
	   invalidate(A);
	   zap(A, 1);
	   invalidated();
	   free_pgtables(A)
	:: true -> store(X(v, F_ANON), 0)
	fi;
	unlock_mm()
}

inline op_fork(p)
{
	section();
	v = tree[p * 2 + 1];
	start_write(v);
	if
	:: own(X(v, F_ANON)) == 0 ->
		/* vma_needs_copy(): nothing there that the child could miss */
		assert(!is_table(pmd[p]) ||
		       (pte[(pmd[p] - 1) * 2 ] == 0 && pte[(pmd[p] - 1) * 2 + 1] == 0))
	:: else ->
		invalidate(p);
		if
		:: is_table(pmd[p]) ->
			t = pmd[p] - 1;
			lock(t);
			d_step {
				if
				:: pte[t * 2] -> pte[t * 2] = (pte[t * 2] & (255 - PTE_W)) | PTE_COW
				:: else
				fi;
				if
				:: pte[t * 2 + 1] ->
					pte[t * 2 + 1] = (pte[t * 2 + 1] & (255 - PTE_W)) | PTE_COW
				:: else
				fi
			}
			unlock(t);
			ipi()
		:: else
		fi;
		invalidated()
	fi;
	unlock_mm()
}

inline op_uffd(p)
{
	section();
	v = tree[p * 2 + 1];
	start_write(v);
	n = own(X(v, F_FLAGS)) | UFFD;
	store(X(v, F_FLAGS), n);
	unlock_mm();
#ifndef BREAK_DRAIN
	if
	:: announced -> grace_period()
	:: else
	fi;
#endif
	armed[v] = 1
}

inline op_collapse(p)
{
	section();
	v = tree[p * 2 + 1];
	start_write(v);
	invalidate(p);
	t = pmd[p] - 1;
	pmd[p] = 0;
	ipi();			/* pmdp_collapse_flush(), tlb_remove_table_sync_one() */
	invalidated();
	lock(t);
	if
	:: /* __collapse_huge_page_isolate() refuses the pages */
	   unlock(t);
	   pmd[p] = t + 1
	:: d_step {
		pte[t * 2] = 0;
		pte[t * 2 + 1] = 0
	   }
	   unlock(t);
	   d_step {
		table[t] = withdrawn;
		deposited[p] = t + 1;
		pmd[p] = HUGE + (own(X(v, F_FLAGS)) & W)
	   }
	fi;
	unlock_mm()
}

inline op_mbind(p)
{
	section();
	v = tree[p * 2 + 1];
	start_write(v);
	n = own(X(v, F_POL));
	npolicy++;
	store(X(v, F_POL), npolicy);
	unlock_mm();
	/* kfree_rcu() does not make the writer wait; here that is the same. */
#ifndef BREAK_POLICY_FREE
	grace_period();
#endif
	policy_freed[n] = 1
}

inline op_dontneed(p)
{
	invalidate(p);
	split_huge(p);
	zap(p, 1);
	invalidated()
}

inline op_reap()
{
	unstable = 1;
	op_dontneed(A);
	op_dontneed(B);
	reaped = 1
}

inline op_mmap(p)
{
	section();
	n = nvma;
	d_step {
		nvma++;
		mem[X(n, F_FLAGS)] = W;
		npolicy++;
		mem[X(n, F_POL)] = npolicy
	}
	start_write(n);
	barrier;
	d_step { tree[p * 2] = n; tree[p * 2 + 1] = n };
	unlock_mm()
}

inline op_fault(p)
{
	v = tree[p * 2 + 1];
	if
	:: own(X(v, F_ANON)) == 0 -> nanon++; store(X(v, F_ANON), nanon)
	:: else
	fi;
	if
	:: pmd[p] == 0 ->
		d_step { table[ntable] = live; ntable++; pmd[p] = ntable }
	:: else
	fi;
	t = pmd[p] - 1;
	lock(t);
	if
	:: pte[t * 2 + 1] == 0 && !unstable && !(own(X(v, F_FLAGS)) & UFFD) ->
		pte[t * 2 + 1] = pte_make(own(X(v, F_FLAGS)) & W, own(X(v, F_ANON)), 1)
	:: else
	fi;
	unlock(t)
}

/*
 * The table of a file's mapping is taken away with no write lock on the VMA.
 * Such a VMA is not served, by vma_is_anonymous(); what if it were?  On POWER,
 * and with a paravirtual TLB flush, pmdp_collapse_flush() waits for no IPI, and
 * the table is freed by RCU.
 */
inline op_retract(p)
{
	invalidate(p);
	t = pmd[p] - 1;
	lock(t);
	pmd[p] = 0;
	pte[t * 2] = 0;
	pte[t * 2 + 1] = 0;
	unlock(t);
	invalidated();
	table[t] = withdrawn;
	grace_period();
	free_table(t)
}

/* Check what user space may rely on when a system call has returned. */
inline check_page(p, q)
{
	if
	:: tree[(p) * 2 + (q)] == NOVMA ->
		assert(spte[(p) * 2 + (q)] == 0);
		assert(!is_table(pmd[p]) || pte[(pmd[p] - 1) * 2 + (q)] == 0)
	:: else ->
		v = tree[(p) * 2 + (q)];
		assert(spte[(p) * 2 + (q)] == 0 || pmd[p] >= HUGE ||
		       (is_table(pmd[p]) && pte[(pmd[p] - 1) * 2 + (q)] != 0));
		assert(!spte[(p) * 2 + (q)] || (own(X(v, F_FLAGS)) & W));
		if
		:: is_table(pmd[p]) && pte[(pmd[p] - 1) * 2 + (q)] != 0 ->
			n = pte[(pmd[p] - 1) * 2 + (q)];
			assert((own(X(v, F_FLAGS)) & W) || !(n & PTE_W));
			assert(!spte[(p) * 2 + (q)] || (n & PTE_W));
			assert(pte_anon(n) == own(X(v, F_ANON)));
			assert(pte_idx(n) == (q))
		:: else
		fi
	fi
}

inline check()
{
	d_step {
		check_page(A, 0);
		check_page(A, 1);
		check_page(B, 0);
		check_page(B, 1);
		assert(pmd[A] == 0 || tree[A * 2 + 1] != NOVMA);
		assert(pmd[B] == 0 || tree[B * 2 + 1] != NOVMA);
		n = 0;
		v = 0;
		t = 0;
		u = 0
	}
}

#define mapped(p)	(tree[(p) * 2 + 1] != NOVMA)
#define whole(p)	(tree[(p) * 2] != NOVMA)
#define anon_at(p)	(mapped(p) && own(X(tree[(p) * 2 + 1], F_ANON)))

proctype writer()
{
	byte v, n, t, u, op, p;

	do
	:: op == HISTORY ->
		atomic {
			op++;
			run vcpu(0);
#if VCPUS == 2
			run vcpu(1)
#endif
		}
	:: op < 1 + HISTORY + OPS && op != HISTORY ->
		op++;
		if
		:: p = A
		:: p = B
		fi;
		if
#ifdef FILE
		:: is_table(pmd[p]) -> op_retract(p)
#else
		:: mapped(p) -> op_munmap(p)
		:: mapped(p) && whole(p) -> op_shrink(p)
		:: mapped(p) -> op_mprotect(p)
		:: mapped(A) && !mapped(B) -> op_mremap()
		:: mapped(p) -> op_fork(p)
		:: mapped(p) -> op_uffd(p)
		:: anon_at(p) && whole(p) && is_table(pmd[p]) -> op_collapse(p)
		:: pmd[p] >= HUGE -> split_huge(p)
		:: mapped(p) -> op_mbind(p)
		:: mapped(p) -> op_dontneed(p)
		:: !unstable -> op_reap()
		:: !mapped(p) -> op_mmap(p)
		:: mapped(p) && !(pmd[p] >= HUGE) && (pmd[p] || ntable < NT) -> op_fault(p)
#endif
		:: else
		fi;
		check()
	:: else -> break
	od;

	/* Check the end. */
	done == VCPUS && nbuf == 0;
	check()
}

init {
	d_step {
		/* A is mapped, and has no page yet. */
		nvma = 1;
		tree[0] = 0;
		tree[1] = 0;
		mem[X(0, F_SEQ)] = 255;
		mem[X(0, F_FLAGS)] = W;
		mmseq = 2;
		mem[MMSEQ] = 2
	}
	atomic {
		if
		:: mem[X(0, F_ANON)] = 1; nanon = 1
		:: true
		fi;
		if
		:: announced = 1
		:: true			/* no speculative fault yet */
		fi;
		if
		:: table[0] = live; ntable = 1; pmd[A] = 1
		:: true			/* the VMA's other pages have one */
		fi;
		run writer()
	}
}
