// SPDX-License-Identifier: MIT
// JSON by RapidJSON, as events: it tells where in the text it is. Numbers come as they are written, so that
// all 64 bits count.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// RapidJSON adds to null pointers where a buffer is still empty.
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("pointer-overflow"))), apply_to = function)
#endif
#define RAPIDJSON_ASSERT(x) ((void)0)
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#ifdef __clang__
#pragma clang attribute pop
#endif

#include "tree.h"

namespace
{

constexpr unsigned flags = rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag |
                           rapidjson::kParseValidateEncodingFlag;

struct handler : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, handler> {
	const tree_input *in;
	rapidjson::MemoryStream *stream;
	tree *levels[TREE_DEPTH_MOST];
	unsigned depth = 0;
	tree *root = nullptr;
	const char *key = nullptr;
	unsigned key_line = 0, key_column = 0;
	int err = 0;

	// Lines are counted once: events come in their order.
	size_t counted = 0, line_start = 0;
	unsigned line = 1, column = 1;

	void go_to(size_t offset)
	{
		for (; counted < offset && counted < in->length; counted++)
			if (in->text[counted] == '\n') {
				line++;
				line_start = counted + 1;
			}
		column = offset - line_start + 1;
	}

	bool wrong(int error, const char *what)
	{
		err = regmap__tree_text_wrong(in, error, line, column, "%s", what);
		return false;
	}

	bool no_node()
	{
		err = regmap__tree_no_node(in, line, column);
		return false;
	}

	// The quote that opens the string which ends at the stream's place.
	size_t start_of_string() const
	{
		size_t at = stream->Tell() - 1;

		while (at-- > 0) {
			size_t before = at;

			if (in->text[at] != '"')
				continue;
			while (before > 0 && in->text[before - 1] == '\\')
				before--;
			if ((at - before) % 2 == 0)
				break;
		}
		return at;
	}

	tree *add(tree_kind kind, size_t offset)
	{
		tree *node, *parent = depth ? levels[depth - 1] : nullptr;

		go_to(offset);
		node = regmap__tree_node(in->memory, kind, in->name, line, column);
		if (!node) {
			no_node();
			return nullptr;
		}
		if (!parent) {
			root = node;
		} else if (parent->kind == TREE_LIST) {
			regmap__tree_append(parent, node);
		} else {
			node->key_line = key_line;
			node->key_column = key_column;
			regmap__tree_set(parent, key, node);
		}
		return node;
	}

	bool open(tree_kind kind)
	{
		tree *node = add(kind, stream->Tell()); // told before it takes the bracket

		if (!node)
			return false;
		if (depth == TREE_DEPTH_MOST)
			return wrong(-E2BIG, "objects and arrays are nested too deeply");
		levels[depth++] = node;
		return true;
	}

	// The parser lets the second half of a pair stand alone.
	static bool has_half_pair(const char *s, size_t length)
	{
		for (size_t i = 0; i + 1 < length; i++)
			if ((unsigned char)s[i] == 0xED && (unsigned char)s[i + 1] >= 0xA0)
				return true;
		return false;
	}

	const char *text_of(const char *s, size_t length)
	{
		const char *copy;

		if (has_half_pair(s, length)) {
			wrong(-EINVAL,
			      "the string has half of a surrogate pair: write both, or neither");
			return nullptr;
		}
		if (memchr(s, 0, length)) {
			wrong(-EINVAL, "the string holds a NUL: leave it out");
			return nullptr;
		}
		copy = regmap__tree_text(in->memory, s, length);
		if (!copy)
			no_node();
		return copy;
	}

	bool Null()
	{
		tree *node = add(TREE_OTHER, stream->Tell() - 4);

		if (node)
			node->string = "null";
		return node;
	}
	bool Bool(bool truth)
	{
		tree *node = add(TREE_BOOLEAN, stream->Tell() - (truth ? 4 : 5));

		if (node)
			node->number = truth;
		return node;
	}
	bool RawNumber(const char *s, rapidjson::SizeType length, bool)
	{
		tree *node = add(TREE_FLOAT, stream->Tell() - length);

		if (!node)
			return false;
		node->string = text_of(s, length);
		if (node->string && regmap__tree_number(node, node->string))
			node->kind = TREE_INTEGER;
		return node->string;
	}
	bool String(const char *s, rapidjson::SizeType length, bool)
	{
		tree *node = add(TREE_STRING, start_of_string());

		if (!node)
			return false;
		node->string = text_of(s, length);
		return node->string;
	}
	bool Key(const char *s, rapidjson::SizeType length, bool)
	{
		const tree *table = levels[depth - 1];
		char what[160];

		go_to(start_of_string());
		key = text_of(s, length);
		key_line = line;
		key_column = column;
		if (!key)
			return false;
		if (table->count >= TREE_KEYS_MOST)
			return wrong(-E2BIG, "the object has too many keys");
		if (const tree *other = regmap__tree_get(table, key)) {
			snprintf(what, sizeof(what),
			         "the key \"%.80s\" is there already, in line %u", key,
			         other->key_line);
			return wrong(-EINVAL, what);
		}
		return true;
	}
	bool StartObject()
	{
		return open(TREE_TABLE);
	}
	bool EndObject(rapidjson::SizeType)
	{
		depth--;
		return true;
	}
	bool StartArray()
	{
		return open(TREE_LIST);
	}
	bool EndArray(rapidjson::SizeType)
	{
		depth--;
		return true;
	}
};

using json_writer = rapidjson::PrettyWriter<rapidjson::StringBuffer>;

void write(json_writer &w, const tree *node)
{
	char text[32];

	switch (node->kind) {
	case TREE_TABLE:
		w.StartObject();
		for (const tree *n = node->first; n; n = n->next) {
			w.Key(n->key);
			write(w, n);
		}
		w.EndObject();
		break;
	case TREE_LIST:
		w.SetFormatOptions(node->style == TREE_PLAIN && node->first &&
		                                   node->first->kind != TREE_TABLE ?
		                           rapidjson::kFormatSingleLineArray :
		                           rapidjson::kFormatDefault);
		w.StartArray();
		for (const tree *n = node->first; n; n = n->next)
			write(w, n);
		w.EndArray();
		w.SetFormatOptions(rapidjson::kFormatDefault);
		break;
	case TREE_STRING: w.String(node->string); break;
	case TREE_BOOLEAN: w.Bool(node->number); break;
	default:
		if (node->style == TREE_HEX || node->style == TREE_ADDRESS) {
			w.String(regmap__tree_integer_text(node, text));
		} else if (node->is_negative) {
			w.Int64(-(int64_t)node->number);
		} else {
			w.Uint64(node->number);
		}
	}
}

} // namespace

extern "C" int regmap__tree_from_json(const tree_input *in, tree **out)
{
	const size_t mark = in->length >= 3 && memcmp(in->text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
	tree_input body = *in;
	rapidjson::Reader reader;
	handler h;

	*out = nullptr;
	body.text += mark;
	body.length -= mark;
	rapidjson::MemoryStream stream(body.text, body.length);
	h.in = &body;
	h.stream = &stream;
	reader.Parse<flags>(stream, h);
	if (h.err)
		return h.err;
	if (reader.HasParseError()) {
		h.go_to(std::min(reader.GetErrorOffset(), body.length));
		return regmap__tree_text_wrong(in, -EINVAL, h.line, h.column, "JSON: %s",
		                               rapidjson::GetParseError_En(
						       reader.GetParseErrorCode()));
	}
	if (stream.Tell() < body.length) {
		h.go_to(stream.Tell());
		return regmap__tree_text_wrong(in, -EINVAL, h.line, h.column,
		                               "JSON: the text goes on behind its end");
	}
	*out = h.root;
	return 0;
}

extern "C" int regmap__tree_to_json(const tree *root, char **text, size_t *length)
{
	rapidjson::StringBuffer buffer;
	json_writer w(buffer);

	w.SetIndent(' ', 2);
	write(w, root);
	*length = buffer.GetSize() + 1;
	*text = static_cast<char *>(malloc(*length + 1));
	if (!*text)
		return -ENOMEM;
	memcpy(*text, buffer.GetString(), *length - 1);
	memcpy(*text + *length - 1, "\n", 2);
	return 0;
}
