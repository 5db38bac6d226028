# SPDX-License-Identifier: MIT
# bash completion of regmap: commands, options, templates, and places of a device. All but the commands
# is asked of regmap itself.

_regmap_commands='list show template config svd check map translate read write convert run help'

# Options of a command, as its --help lists them; those with a value end with '='.
_regmap_options() {
	regmap "$1" --help 2>/dev/null |
		sed -n 's/^ *\(-., \)\{0,1\} *\(--[a-z-]*=\{0,1\}\).*/\2/p'
}

# The arguments before the cursor that are no options: $command, and the rest in $arguments. Bash cuts
# words at '='.
_regmap_arguments() {
	local i word
	command='' arguments=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word == '=' ]]; then
			((i++))
		elif [[ $word == -[OiwFot] && $command != template && $command != config && $command != svd ]] ||
			[[ $word == -[Oi] ]]; then
			((i++))
		elif [[ $word != -* && -z $command ]]; then
			command=$word
		elif [[ $word != -* ]]; then
			arguments+=("$word")
		fi
	done
}

_regmap_words() { # candidates, one in a line
	local IFS=$'\n'
	# shellcheck disable=SC2207
	COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

_regmap_files() {
	local IFS=$'\n'
	compopt -o filenames 2>/dev/null
	# shellcheck disable=SC2207
	COMPREPLY+=($(compgen -f -- "$cur"))
}

# What may stand behind "--name=".
_regmap_values() {
	case $1 in
	--color) _regmap_words $'auto\nalways\nnever' ;;
	--format) _regmap_words $'dump\nvalues\nraw' ;;
	--to) _regmap_words $'toml\nyaml\njson\nhex\nsrec\nraw' ;;
	--width) _regmap_words $'8\n16\n32\n64' ;;
	--overlay | --svg | --image | --output | --save) _regmap_files ;;
	esac
}

_regmap_devices() {
	_regmap_words "$(regmap list --names 2>/dev/null)"
	_regmap_files
}

# Templates are found without regard to case.
_regmap_devices_any_case() {
	local name lower=${cur,,}
	_regmap_devices
	[ -n "$cur" ] || return
	for name in $(regmap list --names 2>/dev/null); do
		[[ ${name,,} != "$lower"* || $name == "$cur"* ]] || COMPREPLY+=("$name")
	done
}

_regmap_places() {
	_regmap_words "$(regmap show --names "${arguments[0]}" 2>/dev/null)"
	[ "$command" != write ] || compopt -o nospace 2>/dev/null
}

_regmap() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command arguments

	COMPREPLY=()
	_regmap_arguments
	if [[ $cur == '=' ]]; then
		cur=
		_regmap_values "$prev"
	elif [[ $prev == '=' ]]; then
		_regmap_values "${COMP_WORDS[COMP_CWORD - 2]}"
	elif [[ -z $command ]]; then
		_regmap_words "${_regmap_commands// /$'\n'}"$'\n--help\n--version'
	elif [[ $prev == -[Oio] ]]; then
		_regmap_files
	elif [[ $cur == -* ]]; then
		_regmap_words "$(_regmap_options "$command")"
		[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
	else
		case $command,${#arguments[@]} in
		help,0) _regmap_words "${_regmap_commands// /$'\n'}" ;;
		template,0) _regmap_words "$(regmap list --names 2>/dev/null)" ;;
		show,0 | map,0 | translate,0 | read,0 | write,0 | convert,0 | run,0) _regmap_devices_any_case ;;
		show,1 | translate,* | read,1 | write,*) _regmap_places ;;
		config,0 | svd,0 | check,* | convert,1 | run,*) _regmap_files ;;
		esac
	fi
}

complete -F _regmap regmap
