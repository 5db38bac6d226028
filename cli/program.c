/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SCRIPTS = 4 }; /* interpreters that are scripts */

static bool is_file(const char *path)
{
	struct stat s;

	return !stat(path, &s) && S_ISREG(s.st_mode);
}

static bool join(char to[PATH_MAX], const char *directory, size_t length, const char *name)
{
	return snprintf(to, PATH_MAX, "%.*s%s%s", (int)length, directory, length ? "/" : "./",
	                name) < PATH_MAX;
}

/* 0, or an exit code; a file that can't be run counts if there is no other. */
static int search(const char *name, char path[PATH_MAX])
{
	const char *at = getenv("PATH"), *end;
	int code = PROGRAM_NOT_FOUND;
	char candidate[PATH_MAX];

	for (at = at ? at : "/bin:/usr/bin"; at; at = *end ? end + 1 : NULL) {
		end = strchrnul(at, ':');
		if (!join(candidate, at, (size_t)(end - at), name) || !is_file(candidate))
			continue;
		if (code == PROGRAM_NOT_FOUND || !access(candidate, X_OK))
			memcpy(path, candidate, PATH_MAX);
		if (!access(candidate, X_OK))
			return 0;
		code = PROGRAM_CANNOT_RUN;
	}
	return code;
}

static int find_path(const char *name, char path[PATH_MAX], const char **wrong)
{
	int code;

	if (strchr(name, '/')) {
		snprintf(path, PATH_MAX, "%s", name);
		code = access(path, F_OK) ? PROGRAM_NOT_FOUND :
		       access(path, X_OK) ? PROGRAM_CANNOT_RUN :
		                            0;
	} else {
		code = search(name, path);
	}
	if (code == PROGRAM_NOT_FOUND)
		*wrong = strchr(name, '/') ? "there is no such file" :
		                             "there is no such program in PATH";
	else if (code)
		*wrong = "it may not be executed: chmod +x would change that";
	else if (!is_file(path))
		*wrong = "that is no file";
	return code ? code : is_file(path) ? 0 : PROGRAM_CANNOT_RUN;
}

/* --- ELF --- */

static const char *check_header(Elf *elf, GElf_Ehdr *header)
{
	if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, header))
		return "this is no program for Linux";
	if (header->e_machine != EM_X86_64)
		return "this is a program for another processor: compile it for this machine, with the same "
		       "sources (docs/firmware.md)";
	if (header->e_ident[EI_CLASS] != ELFCLASS64)
		return "this is a program of 32-bit addresses (x32): compile it with -m64";
	if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
		return "this is no program: link it";
	return NULL;
}

static const char *check_interpreter(Elf *elf, const GElf_Phdr *segment)
{
	size_t size;
	const char *file = elf_rawfile(elf, &size), *name;

	if (!file || segment->p_offset >= size || segment->p_filesz > size - segment->p_offset ||
	    !segment->p_filesz || file[segment->p_offset + segment->p_filesz - 1])
		return "its dynamic linker can't be read: the file is damaged";
	name = strrchr(file + segment->p_offset, '/');
	name = name ? name + 1 : file + segment->p_offset;
	return strncmp(name, "ld-linux", 8) ?
	               "it uses another C library than libregmap.so: link it with libregmap.a of that one" :
	               NULL;
}

/* The first of the libraries that insist on it. */
static void note_sanitizer(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, char *sanitizer)
{
	static const char *const first[] = {"libasan.so", "libtsan.so"};
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Dyn entry;
	const char *name;

	for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
		name = entry.d_tag == DT_NEEDED ?
		               elf_strptr(elf, header->sh_link, entry.d_un.d_val) :
		               NULL;
		for (unsigned j = 0; name && j < sizeof(first) / sizeof(first[0]); j++)
			if (!strncmp(name, first[j], strlen(first[j])) && !*sanitizer)
				snprintf(sanitizer, NAME_MAX + 1, "%s", name);
	}
}

static void find_sanitizer(Elf *elf, char *sanitizer)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while ((section = elf_nextscn(elf, section)))
		if (gelf_getshdr(section, &header) && header.sh_type == SHT_DYNAMIC)
			note_sanitizer(elf, section, &header, sanitizer);
}

static const char *check_elf(Elf *elf, struct program *program)
{
	GElf_Ehdr header;
	GElf_Phdr segment;
	size_t count = 0;
	const char *wrong = check_header(elf, &header);

	if (wrong)
		return wrong;
	find_sanitizer(elf, program->sanitizer);
	elf_getphdrnum(elf, &count);
	for (size_t i = 0; i < count; i++)
		if (gelf_getphdr(elf, (int)i, &segment) && segment.p_type == PT_INTERP)
			return check_interpreter(elf, &segment);
	return "it is linked statically, and regmap run preloads a library: link it dynamically, or with "
	       "libregmap.a and a call of regmap_device_map()";
}

/* --- what the dynamic linker does without libraries of the user's for --- */

static const char *check_privileges(const char *path)
{
	static const char set_id[] =
		"it runs with another user's or group's rights, and preloads nothing: "
		"use a copy of it";
	struct stat s;

	if (stat(path, &s))
		return NULL;
	if ((s.st_mode & S_ISUID && s.st_uid != geteuid()) ||
	    (s.st_mode & S_ISGID && s.st_mode & S_IXGRP && s.st_gid != getegid()))
		return set_id;
	if (geteuid() && getxattr(path, "security.capability", NULL, 0) > 0)
		return "it has capabilities of its own, and preloads nothing: use a copy of it";
	return NULL;
}

/* --- scripts --- */

/* False: it is none. The kernel looks at so many bytes, too. */
static bool read_interpreter(int fd, char interpreter[PATH_MAX])
{
	char line[256], *at = line + 2;
	ssize_t length = pread(fd, line, sizeof(line) - 1, 0);

	if (length < 3 || line[0] != '#' || line[1] != '!')
		return false;
	line[length] = 0;
	at += strspn(at, " \t");
	at[strcspn(at, " \t\n")] = 0;
	snprintf(interpreter, PATH_MAX, "%s", at);
	return true;
}

static const char *check_file(int fd, struct program *program)
{
	const char *wrong;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	wrong = elf ? check_elf(elf, program) : "it can't be read as a program";
	elf_end(elf);
	return wrong;
}

static const char *check(const char *path, struct program *program, unsigned scripts)
{
	char interpreter[PATH_MAX];
	const char *wrong;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == EACCES ?
		               "it may be executed but not read, so nothing can be preloaded" :
		               "it can't be opened";
	if (read_interpreter(fd, interpreter)) {
		if (!scripts)
			wrong = "too many scripts run each other";
		else if (!is_file(interpreter))
			wrong = "this is a script, and the program that its first line names isn't there";
		else
			wrong = check(interpreter, program, scripts - 1);
	} else {
		wrong = check_privileges(path);
		wrong = wrong ? wrong : check_file(fd, program);
	}
	close(fd);
	return wrong;
}

int program_find(const char *name, struct program *program, const char **wrong)
{
	int code;

	memset(program, 0, sizeof(*program));
	code = find_path(name, program->path, wrong);
	if (code)
		return code;
	*wrong = check(program->path, program, SCRIPTS);
	return *wrong ? PROGRAM_CANNOT_RUN : 0;
}
