# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion of spfctl.  shellcheck shell=bash

# A VM's name is somebody else's text: compgen -W would expand it, and run the commands in it.
_spfctl_vms()
{
	local name

	while IFS= read -r name; do
		if [[ -n $name && $name == "$1"* ]]; then
			COMPREPLY+=("$name")
		fi
	done < <(ls /run/kvmspf 2>/dev/null; virsh -q -r list --name 2>/dev/null)
}

_spfctl()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=

	case $before in
	-m | --set-mode)
		words="off vma-lock on" ;;
	-S | --sort)
		words="vm fast speculative vma-lock mmap-lock aborts p99 max" ;;
	-d | --interval | -n | --count | -t | --timeout)
		return ;;
	-s | --socket | -p | --prometheus)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	-D | --dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		return ;;
	*)
		case $word in
		-*)
			words="--csv --json --prometheus --set-mode --wait-storm --interval --count --per-vcpu --sort
				--total --time --socket --dir --libvirt --monitor --timeout --help --version" ;;
		*)
			_spfctl_vms "$word"
			return ;;
		esac ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -o filenames -F _spfctl spfctl
