// SPDX-License-Identifier: MIT
// TOML by toml++. Only this file knows it.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string_view>
#include <vector>

// It asserts what wrong texts don't keep ("[[[a"), and then goes on to an error message: let it. With NDEBUG it
// would let the compiler take its assertions for granted.
#undef NDEBUG
#define TOML_ASSERT(expr) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_UNRELEASED_FEATURES 0
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <toml++/toml.h>

#include "tree.h"

namespace
{

// toml++ takes dotted keys of any depth, and its destructors recurse. What is outside of strings and comments
// is looked at here: how many dots a key has.
struct dots {
	const char *at, *end;
	unsigned line = 1;
	unsigned most = 0, most_line = 0;

	bool is(const char *what) const
	{
		size_t n = strlen(what);

		return size_t(end - at) >= n && memcmp(at, what, n) == 0;
	}
	void step()
	{
		line += *at == '\n';
		at++;
	}
	void skip_string()
	{
		const char quote = *at;
		const char three[] = {quote, quote, quote, 0};
		const char one[] = {quote, 0};
		const bool is_long = is(three);

		at += is_long ? 3 : 1;
		while (at < end && !is(is_long ? three : one)) {
			if (*at == '\n' && !is_long)
				return;
			if (*at == '\\' && quote == '"' && at + 1 < end)
				step();
			step();
		}
		at += is_long && at < end ? 3 : at < end;
	}
	void count()
	{
		unsigned now = 0;

		while (at < end) {
			if (*at == '"' || *at == '\'') {
				skip_string();
				continue;
			}
			if (*at == '#')
				while (at < end && *at != '\n')
					at++;
			if (at == end)
				return;
			if (strchr("=,{}[]\n", *at))
				now = 0;
			now += *at == '.';
			if (now > most) {
				most = now;
				most_line = line;
			}
			step();
		}
	}
};

struct builder {
	const tree_input *in;
	tree_lines lines;
	int err;
};

struct entry {
	const toml::key *key;
	const toml::node *value;
};

tree *convert(builder &b, const toml::node &node, unsigned depth);

unsigned column_of(const builder &b, const toml::source_position &at)
{
	return regmap__tree_bytes_column(&b.lines, at.line, at.column);
}

tree *give_up(builder &b, const toml::node &at)
{
	if (!b.err)
		b.err = regmap__tree_no_node(b.in, at.source().begin.line,
		                             column_of(b, at.source().begin));
	return nullptr;
}

tree *refuse(builder &b, const toml::source_position &at, const char *what)
{
	b.err = regmap__tree_text_wrong(b.in, -EINVAL, at.line, column_of(b, at), "%s", what);
	return nullptr;
}

const char *text_of(builder &b, std::string_view s, const toml::node &at)
{
	if (s.find('\0') != s.npos) {
		refuse(b, at.source().begin, "the string holds a NUL: leave it out");
		return nullptr;
	}
	const char *copy = regmap__tree_text(b.in->memory, s.data() ? s.data() : "", s.size());
	if (!copy)
		give_up(b, at);
	return copy;
}

// toml++ keeps keys in alphabetical order; the text's is by their places.
std::vector<entry> entries_of(const toml::table &table)
{
	std::vector<entry> entries;

	entries.reserve(table.size());
	for (auto &&[key, value] : table)
		entries.push_back({&key, &value});
	std::stable_sort(entries.begin(), entries.end(), [](const entry &a, const entry &b) {
		return a.key->source().begin < b.key->source().begin;
	});
	return entries;
}

tree *convert_table(builder &b, const toml::table &table, tree *to, unsigned depth)
{
	if (table.size() > TREE_KEYS_MOST) {
		b.err = regmap__tree_text_wrong(b.in, -E2BIG, to->line, to->column,
		                                "the table has more than %d keys", TREE_KEYS_MOST);
		return nullptr;
	}
	for (const entry &e : entries_of(table)) {
		tree *child = convert(b, *e.value, depth + 1);
		const char *key = child ? text_of(b, e.key->str(), *e.value) : nullptr;

		if (!key)
			return nullptr;
		child->key_line = e.key->source().begin.line;
		child->key_column = column_of(b, e.key->source().begin);
		regmap__tree_set(to, key, child);
	}
	return to;
}

tree *convert_list(builder &b, const toml::array &array, tree *to, unsigned depth)
{
	for (const toml::node &item : array) {
		tree *child = convert(b, item, depth + 1);

		if (!child)
			return nullptr;
		regmap__tree_append(to, child);
	}
	return to;
}

tree *convert_value(builder &b, const toml::node &node, tree *to)
{
	if (const auto *s = node.as_string()) {
		to->kind = TREE_STRING;
		to->string = text_of(b, s->get(), node);
		return to->string ? to : nullptr;
	}
	if (const auto *i = node.as_integer()) {
		to->kind = TREE_INTEGER;
		to->is_negative = i->get() < 0;
		to->number = i->get() < 0 ? -uint64_t(i->get()) : uint64_t(i->get());
	} else if (const auto *truth = node.as_boolean()) {
		to->kind = TREE_BOOLEAN;
		to->number = truth->get();
	} else if (node.is_floating_point()) {
		to->kind = TREE_FLOAT;
	} else {
		to->kind = TREE_OTHER;
		to->string = "a date or time";
	}
	return to;
}

tree *convert(builder &b, const toml::node &node, unsigned depth)
{
	const toml::source_position &at = node.source().begin;
	const tree_kind kind = node.is_table() ? TREE_TABLE :
	                       node.is_array() ? TREE_LIST :
	                                         TREE_OTHER;
	tree *to;

	if (depth > TREE_DEPTH_MOST) {
		refuse(b, at, "tables and lists are nested too deeply");
		b.err = -E2BIG;
		return nullptr;
	}
	to = regmap__tree_node(b.in->memory, kind, b.in->name, at.line, column_of(b, at));
	if (!to)
		return give_up(b, node);
	if (kind == TREE_TABLE)
		return convert_table(b, *node.as_table(), to, depth);
	if (kind == TREE_LIST)
		return convert_list(b, *node.as_array(), to, depth);
	return convert_value(b, node, to);
}

int syntax_error(builder &b, const toml::parse_error &error)
{
	const toml::source_position &at = error.source().begin;
	std::string what(error.description());
	const char *advice = "";

	std::replace(what.begin(), what.end(), '\n', ' ');
	if (what.find("representable") != what.npos || what.find("out of range") != what.npos)
		advice = ": write numbers of 2^63 and more as strings";
	return regmap__tree_text_wrong(b.in, -EINVAL, at.line, column_of(b, at), "TOML: %s%s",
	                               what.c_str(), advice);
}

} // namespace

extern "C" int regmap__tree_from_toml(const tree_input *in, tree **out)
{
	builder b{in, {}, 0};
	dots d{in->text, in->text + in->length};

	*out = nullptr;
	if (!regmap__tree_lines(in, &b.lines))
		return regmap__tree_no_node(in, 0, 0);
	d.count();
	if (d.most > TREE_DEPTH_MOST)
		return regmap__tree_text_wrong(in, -E2BIG, d.most_line, 1,
		                               "a key has more than %d parts", TREE_DEPTH_MOST);

	toml::parse_result result = toml::parse(std::string_view(in->text, in->length),
	                                        std::string_view());
	if (!result)
		return syntax_error(b, result.error());
	*out = convert(b, result.table(), 0);
	return *out ? 0 : b.err;
}
