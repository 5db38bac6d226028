/* SPDX-License-Identifier: MIT */
/* regmap: what can be done with described devices, from the command line. */
#define _GNU_SOURCE
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static int help(int argc, char **argv);

static const struct cli_command commands[] = {
	{"list", cli_list, "", "the devices that are built in", "jcn",
         "Lists the templates: devices that are built in.\n\n"
         "Examples:\n"
         "  regmap list\n"
         "  regmap list --json | jq -r '.templates[].name'"},
	{"show", cli_show, "NAME|FILE [PLACE]", "what a device is made of", "jcnOf",
         "Shows a device, or one region, peripheral, register or field of it. With --json, a device\n"
         "is shown as its description (devices/regmap.schema.json).\n\n"
         "Examples:\n"
         "  regmap show STM32F103\n"
         "  regmap show STM32F103 RCC.CR\n"
         "  regmap show board.toml 0x40021004\n"
         "  regmap show --names STM32F103 | grep USART1"},
	{"template", cli_template, "NAME", "load a device that is built in", "jcaptOfi",
         "Loads a template and says what it has.\n\n"
         "Examples:\n"
         "  regmap template STM32F103 -a -p     allocate its memory, print its map\n"
         "  regmap template ESP32 --text        the description that it is made from"},
	{"config", cli_config, "FILE", "load a description", "jcaptOfi",
         "Loads a description (TOML, YAML, JSON) or an SVD file and says what it has.\n\n"
         "Examples:\n"
         "  regmap config board.toml -a -p\n"
         "  regmap config board.yaml --overlay=fixes.toml --print"},
	{"svd", cli_svd, "FILE", "load a CMSIS-SVD file", "jcaptOfi",
         "Loads a vendor's CMSIS-SVD file and says what it has.\n\n"
         "Examples:\n"
         "  regmap svd STM32F103xx.svd -p\n"
         "  regmap svd chip.svd --overlay=chip-rules.toml --text >chip.toml"},
	{"check", cli_check, "FILE...", "all that is wrong with descriptions", "jcs",
         "Says all that is wrong with descriptions or SVD files, with line and column, not only the\n"
         "first thing. Exit code 1 if there are errors.\n\n"
         "Examples:\n"
         "  regmap check board.toml\n"
         "  regmap check --strict devices/*.toml"},
	{"map", cli_map, "NAME|FILE", "a picture of the address space", "jcOfrSC",
         "Draws the address space: regions, what lies inside of them, and gaps.\n\n"
         "Examples:\n"
         "  regmap map STM32F103\n"
         "  regmap map board.toml --svg=board.svg\n"
         "  regmap map --registers chip.svd | less -R"},
	{"translate", cli_translate, "NAME|FILE PLACE...", "addresses to names and back", "jcOf",
         "Says of addresses what is there, and of names where they are; through aliases to what is\n"
         "really there.\n\n"
         "Examples:\n"
         "  regmap translate STM32F103 0x40021018 USART1.DR\n"
         "  regmap translate STM32F103 0x22006008     bit 2 of 0x20000300\n"
         "  regmap translate --offset=0x100000000 STM32F103 0x140021018"},
	{"read", cli_read, "NAME|FILE PLACE [LENGTH]", "read memory and registers", "jcOfiwFo",
         "Reads, as the bus would: of a device after a reset, with the images that --image loads.\n"
         "PLACE is an address or a name: 0x08000000, RCC.CR, RCC.CR.HSION, SRAM+0x10.\n\n"
         "Examples:\n"
         "  regmap read STM32F103 RCC.CR\n"
         "  regmap read --image=firmware.elf STM32F103 0x08000000 64\n"
         "  regmap read -i 0x08000000=fw.bin -w 32 -F values STM32F103 Flash 8\n"
         "  regmap read -i fw.hex -F raw -o flash.bin STM32F103 Flash"},
	{"write", cli_write, "NAME|FILE PLACE=VALUE...", "write, and see what it does", "jcOfiwW",
         "Writes one after the other, as the bus would, to a device after a reset, and shows the\n"
         "registers that are others then. VALUE is a number, 'hex:0102ff', 'text:...' or '@FILE'.\n\n"
         "Examples:\n"
         "  regmap write STM32F103 RCC.CR.HSEON=1\n"
         "  regmap write STM32F103 FLASH.KEYR=0x45670123 FLASH.KEYR=0xCDEF89AB\n"
         "  regmap write STM32F103 0x20000000=@data.bin --save=SRAM=sram.hex"},
	{"convert", cli_convert, "IN [OUT]", "between formats of descriptions, and of images",
         "jcOTAo",
         "Writes a description (or SVD file, or template) in another format: TOML, YAML, JSON. Or an\n"
         "image: Intel HEX, S-records, ELF or raw to Intel HEX, S-records or raw. OUT's ending says\n"
         "which; --to does where there is none.\n\n"
         "Examples:\n"
         "  regmap convert chip.svd chip.toml\n"
         "  regmap convert STM32F103 --to yaml\n"
         "  regmap convert firmware.elf firmware.hex\n"
         "  regmap convert --at=0x08000000 firmware.bin firmware.s19"},
	{"run", cli_run, "NAME|FILE [OPTION]... -- PROGRAM [ARGUMENT]...",
         "run a program on a device", "", ""},
	{"help", help, "[COMMAND]", "this, or more about a command", "", "Shows help."},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

const struct cli_command *cli_command_named(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

static int overview(FILE *to)
{
	fputs("Usage: regmap COMMAND [ARGUMENT]...\n\n"
	      "The address spaces of chips, described: shown, checked, read, written, and put under\n"
	      "programs that run here. NAME is a built-in device, FILE a description (TOML, YAML,\n"
	      "JSON) or a CMSIS-SVD file.\n\n"
	      "Commands:\n",
	      to);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\n`regmap COMMAND --help` says more, with examples. --version tells the version.\n\n"
	      "Examples:\n"
	      "  regmap list\n"
	      "  regmap map STM32F103\n"
	      "  regmap read STM32F103 RCC.CR\n"
	      "  regmap run STM32F103 -- ./driver-test\n\n"
	      "Exit codes: 0 fine; 1 what was asked about is wrong or isn't there; 2 the command line\n"
	      "is wrong; 3 the output can't be written; 4 no memory. `run` ends as its program does.\n",
	      to);
	return CLI_FINE;
}

static _Noreturn void unknown_command(const char *said)
{
	const char *names[COMMANDS + 1], *perhaps;

	for (size_t i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	names[COMMANDS] = NULL;
	perhaps = cli_suggest(said, names);
	if (perhaps)
		cli_usage(NULL, "there is no command '%s': did you mean '%s'?", said, perhaps);
	cli_usage(NULL, "there is no command '%s'", said);
}

static int run_command(int argc, char **argv)
{
	const struct cli_command *command = cli_command_named(argv[0]);

	if (!command)
		unknown_command(argv[0]);
	return command->run(argc, argv);
}

static int help(int argc, char **argv)
{
	char *asked[] = {argc > 1 ? argv[1] : NULL, "--help", NULL};

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help"))
		return overview(stdout);
	if (argc > 2)
		cli_usage(NULL, "help is about one command at a time");
	return run_command(2, asked);
}

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	cli_start();
	if (argc < 2) {
		overview(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return cli_end(overview(stdout));
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("regmap " REGMAP_VERSION);
		return cli_end(CLI_FINE);
	}
	if (argv[1][0] == '-')
		cli_usage(NULL, "%s comes behind a command, if at all", argv[1]);
	return cli_end(run_command(argc - 1, argv + 1));
}
