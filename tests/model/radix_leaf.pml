/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A page of a radix guest on POWER that is mapped without KVM's mmu_lock, for spin.
 *
 * Two vCPUs fault on one guest page, one of them to write, while the host unmaps the
 * page, or makes it part of a larger one, for which the page table is removed.  All
 * interleavings are searched.  Each -DBREAK_* takes one rule away, and must give a
 * counter-example.  leaf_install.pml has what is as on x86: the range and the sequence
 * of invalidations, and their order.  Here each step is seen by all at once.
 *
 * The vCPU			in the kernel
 *   pfn			__kvm_faultin_pfn(), and the look at the host's PTE
 *   announce, look, replace	kvmppc_radix_install_leaf(), without mmu_lock
 *   locked			kvmppc_create_pte()
 *
 * The others			in the kernel
 *   unmap			kvm_unmap_radix(), from an mmu notifier
 *   collapse			kvmppc_create_pte() of another vCPU, with a large page:
 *				kvmppc_remove_pmd_entry_table()
 *
 * The model claims: no PTE of the tree has a page once the host may free it; no table is
 * touched once it is freed; what the guest wrote is in a dirty bit or has been taken over
 * from one; no announcement is left in the tree.  A table that has been removed may have
 * either.
 */

#define NT	2	/* page tables in all */
#define NPFN	6

#define NONE	0
#ifdef BREAK_ID
#define PENDING(id)	2
#else
#define PENDING(id)	(2 + 4 * (id))
#endif
#define is_pending(p)	(((p) & 11) == 2)
#define PRESENT		8
#define make_pte(p, d)	(PRESENT + (p) * 16 + (d))
#define is_present(p)	((p) & PRESENT)
#define dirty(p)	((p) & 1)
#define pfn_of(p)	((p) >> 4)

#define LARGE		(NT + 1)

byte pte[NT];
byte pmd;			/* a table's number and one, LARGE, or 0 */
byte ntable;
bit freed[NT];
bit irqs_off[2];		/* of the CPU that runs that vCPU: a reader of RCU */
bit mmu_lock;
byte in_progress, seq;
byte hpte, npfn;		/* the host's PTE: a pfn, or 0 */
bit gone[NPFN];			/* the host may free it */
bit written;			/* by the guest, since the host last looked at dirty bits */
byte faulted;

#define leaf		pte[pmd - 1]
#define linked		(pmd != 0 && pmd != LARGE)

/* If the tree has the PTE, whoever finds it may use it at once. */
inline publish(t, p, d)
{
	assert(!freed[t]);
	assert(!gone[p] || pmd != t + 1);
	pte[t] = make_pte(p, d)
}

/* The guest writes, if the tree lets it: hardware sees to it that the page is dirty. */
inline use()
{
	d_step {
		if
		:: linked && is_present(leaf) && dirty(leaf) -> written = 1
		:: else
		fi
	}
}

proctype vcpu(byte me; bit write)
{
	byte seen, pfn, t, old;
	bit new;

	seen = seq;
	d_step {
		if
		:: hpte == 0 -> npfn++; hpte = npfn
		:: else
		fi;
		pfn = hpte
	}

	/* -- without mmu_lock -- */
	atomic {
		irqs_off[me] = 1;
		if
		:: !linked -> irqs_off[me] = 0; goto locked
		:: else -> t = pmd - 1
		fi
	}
#ifdef BREAK_LOOK_FIRST
	new = in_progress == 0 && seq == seen;
#endif
	d_step {
		assert(!freed[t]);
		old = pte[t];
		if
		:: old == NONE -> pte[t] = PENDING(me)
		:: else
		fi
	}
	if
	:: old != NONE -> irqs_off[me] = 0; goto locked
	:: else
	fi;
#ifndef BREAK_LOOK_FIRST
	new = in_progress == 0;
	new = new && seq == seen;
#endif
#ifdef BREAK_LOOK
	new = 1;
#endif
	d_step {
		assert(!freed[t]);
		if
		:: pte[t] == PENDING(me) && !new -> pte[t] = NONE
		:: pte[t] == PENDING(me) && new -> publish(t, pfn, write); old = PRESENT
		:: else
		fi
	}
	atomic {
		irqs_off[me] = 0;
		if
		:: old == PRESENT -> goto out
		:: else
		fi
	}

locked:
	atomic { !mmu_lock -> mmu_lock = 1 };
	if
	:: in_progress || seq != seen || pmd == LARGE -> goto unlock
	:: else
	fi;
	d_step {
		if
		:: !linked && ntable < NT -> ntable++; pmd = ntable
		:: else
		fi
	}
	atomic {
		if
		:: linked -> t = pmd - 1
		:: else -> goto unlock
		fi
	}
	old = pte[t];
	if
	:: is_present(old) ->
		/* Add our bits. */
		d_step { pte[t] = pte[t] | write }
	:: else ->
#ifdef BREAK_EXCHANGE
		d_step { publish(t, pfn, write) }
#else
		d_step {
			if
			:: pte[t] == old -> publish(t, pfn, write)
			:: else
			fi
		}
#endif
	fi;
unlock:
	mmu_lock = 0;
out:
	use();
	atomic { faulted++; seen = 0; pfn = 0; t = 0; old = 0; new = 0 }
}

/* kvmppc_unmap_pte(): what is replaced tells. */
inline unmap_pte(t)
{
	d_step {
		if
		:: is_present(pte[t]) && dirty(pte[t]) -> written = 0
		:: else
		fi;
		pte[t] = NONE
	}
}

inline unmap()
{
	atomic { !mmu_lock -> mmu_lock = 1 };
	in_progress++;
	if
	:: linked ->
		t = pmd - 1;
#ifdef BREAK_STEAL
		if
		:: is_present(pte[t]) -> unmap_pte(t)
		:: else
		fi
#else
		if
		:: pte[t] != NONE -> unmap_pte(t)
		:: else
		fi
#endif
	:: pmd == LARGE -> pmd = 0
	:: else
	fi;
	mmu_lock = 0;
	d_step {
		if
		:: hpte -> gone[hpte] = 1; hpte = 0
		:: else
		fi;
		/* No dirty bit is left to be found. */
		assert(!written)
	}
	atomic { !mmu_lock -> mmu_lock = 1 };
	seq++;
	in_progress--;
	mmu_lock = 0;
	t = 0
}

/* A large page takes the place of the page table.  The page stays where it is. */
inline collapse()
{
	atomic { !mmu_lock -> mmu_lock = 1 };
	if
	:: linked && !in_progress ->
		t = pmd - 1;
		pmd = 0;
		if
		:: pte[t] != NONE -> unmap_pte(t)
		:: else
		fi;
		pmd = LARGE;
		mmu_lock = 0;
#ifndef BREAK_RCU
		!irqs_off[0];
		!irqs_off[1];
#endif
		freed[t] = 1
	:: else -> mmu_lock = 0
	fi;
	t = 0
}

proctype host()
{
	byte t;
	byte ops = 2;

	do
	:: ops > 0 -> ops--; unmap()
	:: ops > 0 -> ops--; collapse()
	:: ops == 0 -> break
	od;
	faulted == 2;
	d_step {
		assert(!linked || !is_pending(leaf));
		assert(!linked || !is_present(leaf) || !gone[pfn_of(leaf)]);
		assert(!written || (linked && is_present(leaf) && dirty(leaf)))
	}
}

init
{
	atomic {
		if
		:: ntable = 1; pmd = 1
		:: skip
		fi;
		run vcpu(0, 0);
		run vcpu(1, 1);
		run host()
	}
}
