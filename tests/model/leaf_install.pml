/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two-phase install of a leaf SPTE without KVM's mmu_lock, for spin.
 *
 * One or two vCPUs fault on one guest page while writers unmap it in the host, remove
 * its page table, zap the root, delete the memslot, or begin to track writes.
 * All interleavings are searched.  Each -DBREAK_* takes one rule away, and must
 * give a counter-example.
 *
 * The vCPU			in the kernel
 *   slot, seen			kvm_mmu_do_page_fault(), kvm_mmu_faultin_pfn()
 *   pfn			hva_to_pfn()
 *   F1, F2, F3			tdp_mmu_install_leaf(), without mmu_lock
 *   locked			kvm_tdp_mmu_page_fault(), kvm_tdp_mmu_map()
 *
 * The writer			in the kernel
 *   op_unmap			kvm_mmu_notifier_invalidate_range_start(), _end()
 *   op_remove_shared		kvm_tdp_mmu_zap_possible_nx_huge_page(),
 *				recover_huge_pages_range(): mmu_lock for read
 *   op_remove_exclusive	kvm_tdp_mmu_zap_sp() of 6.12: for write
 *   op_zap_root		kvm_mmu_zap_all_fast(), both halves
 *   op_track			the first shadow root, kvm_write_track_add_gfn()
 *   op_log			KVM_MEM_LOG_DIRTY_PAGES set, then harvested
 *   op_delete			kvm_invalidate_memslot(), the leaves zapped
 *
 * Memory is that of x86.  A CPU's stores wait in its buffer, in order, and its
 * loads pass them.  vCPUs store only with locked instructions, which wait for
 * the buffer, so they need no buffer here.  Writers store under mmu_lock, and
 * the store that releases the lock waits in the same buffer.  The next holder
 * gets the lock when the buffer is empty, so one buffer serves all writers.
 * tests/model/litmus has the weaker orders that the kernel's memory model allows.
 *
 * There is one guest page, and up to NT page tables that may hold its SPTE.  PMD
 * links one of them.  The model waits for a grace period as "that vCPU has been
 * outside of a read-side section".
 *
 * The model claims: no SPTE and no TLB has a page once the host may free it;
 * no SPTE is writable where a writer relies on it being read-only; no SPTE is
 * left of a slot that is deleted; no SPTE is set in a table that is removed, or
 * touched in one that is freed; KVM's count of pages is that of the SPTEs; no
 * PENDING is left.
 */

#ifndef VCPUS
#define VCPUS	2
#endif
#ifndef WRITERS
#define WRITERS	1
#endif
#ifndef OPS
#define OPS	2		/* how many operations all writers do together */
#endif
#define NT	2
#define NPFN	6

/* -- an SPTE -- */

#define NONE		0
#define FROZEN		1
#ifdef BREAK_ID
#define PENDING(id)	2
#else
#define PENDING(id)	(2 + 4 * (id))
#endif
#define is_pending(s)	(((s) & 11) == 2)
#define PRESENT		8
#define make_spte(p, w)	(PRESENT + (p) * 16 + (w))
#define is_present(s)	((s) & PRESENT)
#define writable(s)	((s) & 1)
#define pfn_of(s)	((s) >> 4)

/* -- memory, and the writers' store buffer -- */

#define IN_PROGRESS	0
#define SEQ		1
#define INVALID		2	/* root->role.invalid */
#define TRACKED		3
#define PMD		4	/* a table's number and one; 0: none */
#define LOCK		5	/* mmu_lock held for write */
#define START		6	/* mmu_invalidate_range_start, _end */
#define END		7
#define SPTE		8	/* of each table */
#define NL		(SPTE + NT)
#define SB		7

/* The page's gfn, another one, and INVALID_GPA */
#define GFN		4
#define OTHER		8
#define NO_GFN		15

byte mem[NL];
byte sbx[SB], sbv[SB], nsb;
byte readers;			/* of mmu_lock */

inline store(x, v)
{
	d_step { assert(nsb < SB); sbx[nsb] = x; sbv[nsb] = v; nsb++ }
}

#define shift(i)	sbx[i] = sbx[i + 1]; sbv[i] = sbv[i + 1]

/* smp_mb(), an IPI, or a locked instruction waits for this. */
#define drained	(nsb == 0)

active proctype memory()
{
end:
	do
	:: d_step {
		nsb > 0 ->
		mem[sbx[0]] = sbv[0];
		nsb--;
		shift(0); shift(1); shift(2); shift(3); shift(4); shift(5);
		sbx[6] = 0; sbv[6] = 0
	   }
	od
}

/* -- the rest -- */

byte hpte;			/* the host's PTE: a pfn, or 0 */
byte npfn;
bit gone[NPFN];			/* the host may free it */
byte ntable;
bit removed[NT], freed[NT];	/* a table */

/* The values as the holder of mmu_lock knows them */
byte in_progress, seq, start, end;

bit rcu[2], srcu[2];		/* in a read-side section? */
bit slot_dirty, slot_gone;	/* the memslots that a fault finds */
bit wrprot_done, deleted;	/* the state on which a writer relies */
bit logging, bitmap;		/* dirty log: harvests since, and this page's bit */

byte tlb;			/* pages that a CPU may have cached, by bit */
bit tlb_w;			/* and may write to */
byte pages;			/* kvm->stat.pages_4k */
byte faulted;

#define linked	(mem[PMD] != 0)
#define leaf	(mem[SPTE + mem[PMD] - 1])

/* The state of a table that a walk has found */
#define spte(t)	mem[SPTE + (t)]

inline flush()
{
	d_step {
		drained;
		tlb = 0;
		tlb_w = 0;
		if
		:: linked && is_present(leaf) ->
			tlb = 1 << pfn_of(leaf);
			tlb_w = writable(leaf)
		:: else
		fi
	}
}

/* In the step that stores the SPTE; a vCPU may use it at once. */
inline publish(t, p, w)
{
	assert(!freed[t] && !removed[t]);
	assert(!gone[p]);
	assert(!(w && wrprot_done));
	assert(!deleted);
	assert(!(w && logging && !bitmap));
	spte(t) = make_spte(p, w);
	pages++;
	tlb = tlb | (1 << (p));
	tlb_w = tlb_w | (w)
}

/* mmu_invalidate_retry_gfn_lockless() */
inline invalidated()
{
#ifndef BREAK_IN_PROGRESS
	if
	:: mem[IN_PROGRESS] == 0
	:: else ->
		from = mem[START];
		mine = GFN >= from && GFN < mem[END];
		from = 0;
		stale = stale || mine;
		mine = 0
	fi;
#endif
#if !defined(BREAK_SEQ) && !defined(BREAK_RMB)
	stale = stale || mem[SEQ] != seen;
#endif
	skip
}

proctype vcpu(byte me)
{
	byte seen, pfn, t, old, from;
	bit dirty, w, stale, mine;

	atomic {
		srcu[me] = 1;
		dirty = slot_dirty;
		if
		:: slot_gone -> goto out
		:: else
		fi
	}

#ifndef BREAK_SEQ_FIRST
	seen = mem[SEQ];
#endif
	d_step {
		if
		:: hpte == 0 -> npfn++; hpte = npfn
		:: else
		fi;
		pfn = hpte
	}
#ifdef BREAK_SEQ_FIRST
	seen = mem[SEQ];
#endif

#ifndef BREAK_DIRTY_SCOPE
	if
	:: dirty -> goto locked
	:: else
	fi;
#endif

	/* Scope: no shadow root, no external write tracking. */
	w = !mem[TRACKED];
	if
	:: !w -> goto locked
	:: else
	fi;

	/* -- F1 -- */
	atomic {
		rcu[me] = 1;
		if
		:: !linked -> rcu[me] = 0; goto locked
		:: else -> t = mem[PMD] - 1
		fi
	}
#ifdef BREAK_CHECK_BEFORE_F1
	invalidated();
#endif
	d_step {
		assert(!freed[t]);
		old = spte(t);
		if
		:: old == NONE -> spte(t) = PENDING(me)
		:: else
		fi
	}
	if
	:: old != NONE -> rcu[me] = 0; goto locked
	:: else
	fi;

	/* -- F2 -- */
#ifndef BREAK_ROOT
	stale = stale || mem[INVALID];
#endif
#ifndef BREAK_TRACK_BEFORE_F1
	stale = stale || mem[TRACKED];
#endif
#ifdef BREAK_RMB
	/* The number is loaded first. */
	old = mem[SEQ];
	invalidated();
	stale = stale || old != seen;
	old = NONE;
#elif !defined(BREAK_CHECK_BEFORE_F1) && !defined(BREAK_RECHECK)
	invalidated();
#endif
#ifdef BREAK_DIRTY_SCOPE
	/* make_spte() marks the page. */
	if
	:: dirty && !stale -> bitmap = 1
	:: else
	fi;
#endif

	/* -- F3 -- */
	d_step {
		assert(!freed[t]);
		if
		:: spte(t) == PENDING(me) && stale -> spte(t) = NONE
		:: spte(t) == PENDING(me) && !stale -> publish(t, pfn, w); old = PRESENT
		:: else
		fi
	}
	atomic {
		rcu[me] = 0;
		if
		:: old == PRESENT -> goto out
		:: else
		fi
	}

locked:
	atomic { mem[LOCK] == 0 -> readers++; rcu[me] = 1 };
	if
	:: (mem[IN_PROGRESS] != 0 && GFN >= mem[START] && GFN < mem[END]) || mem[SEQ] != seen ||
	   mem[INVALID] -> goto unlock
	:: else
	fi;
	d_step {
		if
		:: !linked && ntable < NT -> ntable++; mem[PMD] = ntable
		:: else
		fi
	}
	atomic {
		if
		:: linked -> t = mem[PMD] - 1
		:: else -> goto unlock
		fi
	}
	atomic {
		old = spte(t);
		if
		:: old == FROZEN || is_present(old) -> goto unlock
		:: else
		fi
	}
	w = !mem[TRACKED];
	if
	:: dirty && w -> bitmap = 1	/* mark_page_dirty_in_slot(), in make_spte() */
	:: else
	fi;
	/* cmpxchg from what was read, PENDING of another vCPU included */
	d_step {
		assert(!freed[t]);
		if
		:: spte(t) == old -> publish(t, pfn, w)
		:: else
		fi
	}
unlock:
	atomic { readers--; rcu[me] = 0 }
out:
	atomic {
		srcu[me] = 0;
		faulted++;
		seen = 0; pfn = 0; t = 0; old = 0; from = 0; dirty = 0; w = 0; stale = 0; mine = 0
	}
}

/* -- writers -- */

inline write_lock()
{
	atomic { mem[LOCK] == 0 && readers == 0 -> assert(drained); mem[LOCK] = 1 }
}

inline write_unlock()
{
	store(LOCK, 0)
}

inline read_lock()
{
	atomic { mem[LOCK] == 0 -> readers++ }
}

inline read_unlock()
{
	readers--
}

inline grace_period()
{
	drained;
	!rcu[0];
	!rcu[1]
}

inline srcu_grace_period()
{
#ifndef BREAK_SRCU
	drained;
	!srcu[0];
	!srcu[1]
#else
	skip
#endif
}

/*
 * Zap the SPTE as a walk with mmu_lock held for write does.  The value that the
 * walk has found decides whether the TLB is flushed.
 */
inline zap()
{
	old = NONE;
	if
	:: linked ->
		t = mem[PMD] - 1;
		old = spte(t);
		if
		:: is_present(old) ->
			/* atomic where the CPU may set bits in it, else a plain store */
			if
			:: atomic { drained -> old = spte(t); spte(t) = NONE }
			:: store(SPTE + t, NONE)
			fi;
			pages--
#ifndef BREAK_STEAL
		:: is_pending(old) ->
#ifdef BREAK_XCHG_VALUE
			atomic { drained -> spte(t) = NONE }
#else
			atomic { drained -> old = spte(t); spte(t) = NONE }
			if
			:: is_present(old) -> pages--
			:: else
			fi
#endif
#endif
		:: else
		fi
	:: else
	fi;
	if
	:: is_present(old) -> flush()
	:: else
	fi
}

/* kvm_mmu_invalidate_start(), kvm_mmu_invalidate_range_add() */
inline begin(first)
{
	d_step { in_progress++; store(IN_PROGRESS, in_progress) };
	if
	:: in_progress == 1 ->
		start = NO_GFN;
		store(START, NO_GFN);
		store(END, NO_GFN)
	:: else
	fi;
#ifdef BREAK_RANGE_MB
	drained;
#endif
	d_step {
		if
		:: start == NO_GFN -> start = first; end = first + 1
		:: start != NO_GFN && start > first -> start = first
		:: start != NO_GFN && end < first + 1 -> end = first + 1
		:: else
		fi;
		store(START, start)
	};
	store(END, end);
#if !defined(BREAK_WRITER_MB) && !defined(BREAK_RANGE_MB)
	drained
#else
	skip
#endif
}

inline finish()
{
	write_lock();
#ifdef BREAK_END_WMB
	d_step { in_progress--; store(IN_PROGRESS, in_progress) };
	d_step { seq++; store(SEQ, seq) };
#else
	d_step { seq++; store(SEQ, seq) };
	d_step { in_progress--; store(IN_PROGRESS, in_progress) };
#endif
	write_unlock()
}

/* Another page's, which a fault must not take for its own */
inline op_unmap_other()
{
	write_lock();
	begin(OTHER);
	write_unlock();
	finish()
}

inline op_unmap()
{
	write_lock();
	begin(GFN);
	zap();
	write_unlock();

	/* The host unmaps the page, and may free it. */
	d_step {
		if
		:: hpte != 0 ->
			assert(!(tlb & (1 << hpte)));
			assert(!is_present(spte(0)) || pfn_of(spte(0)) != hpte);
			assert(!is_present(spte(1)) || pfn_of(spte(1)) != hpte);
			gone[hpte] = 1;
			hpte = 0
		:: else
		fi
	}

	finish()
}

/* handle_removed_pt(), shared */
inline freeze()
{
	atomic {
		drained && spte(t) != FROZEN ->
		old = spte(t);
		spte(t) = FROZEN;
		if
		:: is_present(old) -> pages--
		:: else
		fi;
		removed[t] = 1
	}
}

inline free_table()
{
#ifndef BREAK_RCU
	grace_period();
#endif
	d_step { drained; freed[t] = 1; old = 0; t = 0 }
}

inline op_remove_shared()
{
	read_lock();
	atomic {
		if
		:: linked -> t = mem[PMD] - 1; mem[PMD] = 0
		:: else -> goto none
		fi
	}
	freeze();
	flush();
	read_unlock();
	free_table();
	goto next;
none:
	read_unlock();
next:
	skip
}

inline op_remove_exclusive()
{
	write_lock();
	if
	:: linked ->
		t = mem[PMD] - 1;
		store(PMD, 0);
#ifdef BREAK_EXCLUSIVE_SKIP
		old = spte(t);
		if
		:: is_present(old) -> freeze()
		:: else -> removed[t] = 1
		fi;
#else
		freeze();
#endif
		flush();
		write_unlock();
		free_table()
	:: else -> write_unlock()
	fi
}

inline op_zap_root()
{
	write_lock();
	store(INVALID, 1);
	write_unlock();

	/* Zap the leaves that are present, then remove the tables. */
	read_lock();
	atomic {
		if
		:: linked -> t = mem[PMD] - 1
		:: else -> goto gone_already
		fi
	}
	old = spte(t);
	if
	:: is_present(old) ->
		d_step {
			drained;
			if
			:: spte(t) == old -> spte(t) = NONE; pages--
			:: else
			fi
		}
	:: else
	fi;
	atomic {
		if
		:: mem[PMD] == t + 1 -> mem[PMD] = 0
		:: else -> goto gone_already
		fi
	}
	freeze();
	flush();
	read_unlock();
	free_table();
	goto zapped;
gone_already:
	read_unlock();
zapped:
	skip
}

inline op_track()
{
	/* The flag is set; the locked instruction of write_lock() waits for that. */
	write_lock();
	if
	:: linked ->
		t = mem[PMD] - 1;
		old = spte(t);
		if
		:: is_present(old) && writable(old) ->
			if
			:: atomic { drained -> spte(t) = spte(t) & 254 }
			:: store(SPTE + t, old & 254)
			fi
#ifndef BREAK_TRACK_STEAL
		:: is_pending(old) ->
			atomic {
				drained ->
				old = spte(t);
				spte(t) = NONE;
				if
				:: is_present(old) -> pages--
				:: else
				fi
			}
#endif
		:: else
		fi
	:: else
	fi;
	flush();
	d_step {
		assert(!tlb_w);
		assert(!linked || !is_present(leaf) || !writable(leaf));
		wrprot_done = 1
	}
	write_unlock()
}

/* Write-protect an SPTE, but leave PENDING: new faults see the new slot. */
inline wrprot()
{
	d_step {
		drained;
		if
		:: linked && is_present(leaf) -> spte(mem[PMD] - 1) = leaf & 254
		:: else
		fi
	};
	flush()
}

inline op_log()
{
	srcu_grace_period();
	read_lock();
	wrprot();
	read_unlock();
	d_step {
		assert(!tlb_w || bitmap);
		logging = 1
	}
	/* KVM_GET_DIRTY_LOG */
	write_lock();
	bitmap = 0;
	wrprot();
	d_step { assert(!tlb_w) };
	write_unlock()
}

inline op_delete()
{
	srcu_grace_period();
	write_lock();
	zap();
	flush();
	d_step {
		assert(tlb == 0);
		assert(!linked || !is_present(leaf));
		deleted = 1
	}
	write_unlock()
}

byte ops;
bit zapping;			/* each of these happens once */

proctype writer()
{
	byte t, old;

	do
	:: atomic { ops < OPS -> ops++ };
		if
		:: op_unmap()
		:: op_unmap_other()
#ifndef UNMAP_ONLY
		:: op_remove_shared()
		:: op_remove_exclusive()
		:: atomic { !zapping -> zapping = 1 }; op_zap_root()
		:: atomic { !mem[TRACKED] -> mem[TRACKED] = 1 }; op_track()
		:: atomic { !slot_dirty -> slot_dirty = 1 }; op_log()
		:: atomic { !slot_gone -> slot_gone = 1 }; op_delete()
#endif
		fi
	:: else -> break
	od;
	atomic { t = 0; old = 0; ops++ }
}

init {
	atomic {
		if
		:: ntable = 1; mem[PMD] = 1
		:: true
		fi;
		if
		:: npfn = 1; hpte = 1
		:: true
		fi;
		run vcpu(0);
#if VCPUS == 2
		run vcpu(1);
#endif
		run writer()
#if WRITERS == 2
		;
		run writer()
#endif
	}
	atomic {
		faulted == VCPUS && ops == OPS + WRITERS && drained ->
		assert(!linked || !is_pending(leaf));
		assert(pages == (linked && is_present(leaf) -> 1 : 0));
		assert(!linked || !is_present(leaf) || pfn_of(leaf) == hpte)
	}
}
