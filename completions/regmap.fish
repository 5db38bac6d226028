# SPDX-License-Identifier: MIT
# fish completion of regmap: commands, options, templates, and places of a device. All but the commands
# is asked of regmap itself.

set -g __regmap_commands list show template config svd check map translate read write convert run help

# The arguments so far that are no options, without regmap itself.
function __regmap_arguments
	for word in (commandline -opc)[2..-1]
		string match -q -- '-*' $word; or echo $word
	end
end

function __regmap_needs_command
	test (count (__regmap_arguments)) = 0
end

# A command of these, with that many arguments behind it.
function __regmap_at
	set -l arguments (__regmap_arguments)
	test (count $arguments) = (math $argv[1] + 1); and contains -- $arguments[1] $argv[2..-1]
end

function __regmap_behind
	set -l arguments (__regmap_arguments)
	test (count $arguments) -gt $argv[1]; and contains -- $arguments[1] $argv[2..-1]
end

function __regmap_places
	regmap show --names (__regmap_arguments)[2] 2>/dev/null
end

# "  -j, --json     print JSON"
function __regmap_options
	set -l command (__regmap_arguments)[1]
	regmap $command --help 2>/dev/null | string replace -rf '^ +(?:-., )? *(--[a-z-]+=?)[^ ]* *(.*)$' '$1\t$2'
end

complete -c regmap -f
complete -c regmap -n __regmap_needs_command -a list -d 'the devices that are built in'
complete -c regmap -n __regmap_needs_command -a show -d 'what a device is made of'
complete -c regmap -n __regmap_needs_command -a template -d 'load a device that is built in'
complete -c regmap -n __regmap_needs_command -a config -d 'load a description'
complete -c regmap -n __regmap_needs_command -a svd -d 'load a CMSIS-SVD file'
complete -c regmap -n __regmap_needs_command -a check -d 'all that is wrong with descriptions'
complete -c regmap -n __regmap_needs_command -a map -d 'a picture of the address space'
complete -c regmap -n __regmap_needs_command -a translate -d 'addresses to names and back'
complete -c regmap -n __regmap_needs_command -a read -d 'read memory and registers'
complete -c regmap -n __regmap_needs_command -a write -d 'write, and see what it does'
complete -c regmap -n __regmap_needs_command -a convert -d 'between formats of descriptions, and of images'
complete -c regmap -n __regmap_needs_command -a run -d 'run a program on a device'
complete -c regmap -n __regmap_needs_command -a help -d 'more about a command'
complete -c regmap -n __regmap_needs_command -l help -d 'what there is'
complete -c regmap -n __regmap_needs_command -l version -d 'the version'

complete -c regmap -n 'not __regmap_needs_command' -a '(__regmap_options)'
complete -c regmap -n '__regmap_at 0 help' -a "$__regmap_commands"
complete -c regmap -n '__regmap_at 0 show template map translate read write convert run' -a '(regmap list --names 2>/dev/null)'
complete -c regmap -n '__regmap_at 0 show config svd map translate read write convert run' -F
complete -c regmap -n '__regmap_behind 0 check' -F
complete -c regmap -n '__regmap_behind 1 convert run' -F
complete -c regmap -n '__regmap_at 1 show read' -a '(__regmap_places)'
complete -c regmap -n '__regmap_behind 1 translate write' -a '(__regmap_places)'
complete -c regmap -n 'not __regmap_needs_command' -l color -x -a 'auto always never'
complete -c regmap -n '__regmap_behind 0 read' -s F -l format -x -a 'dump values raw'
complete -c regmap -n '__regmap_behind 0 convert' -s t -l to -x -a 'toml yaml json hex srec raw'
complete -c regmap -n '__regmap_behind 0 read write' -s w -l width -x -a '8 16 32 64'
complete -c regmap -n '__regmap_behind 0 show template config svd map translate read write convert run' -s O -l overlay -r -F
complete -c regmap -n '__regmap_behind 0 template config svd read write run' -s i -l image -r -F
complete -c regmap -n '__regmap_behind 0 read convert' -s o -l output -r -F
complete -c regmap -n '__regmap_behind 0 map' -l svg -r -F
complete -c regmap -n '__regmap_behind 0 run' -l trace -d 'a line for each access'
complete -c regmap -n '__regmap_behind 0 run' -l trace-format -x -a 'text json'
complete -c regmap -n '__regmap_behind 0 run' -l stats -d 'counts at the end'
complete -c regmap -n '__regmap_behind 0 run' -l memory -d 'trace and count memory, too'
complete -c regmap -n '__regmap_behind 0 run' -l patch -d 'make accesses faster'
