-- The small parts of src/cli that need neither Redis nor the program.
local ffi = require "ffi"
local files = require "spec.support.files"
local header = require "spec.support.header"
local C = header.load("src/cli/lines.h", "src/cli/members.h", "src/cli/table.h",
  "src/cli/state_value.h", "src/cli/entry.h",
  "src/base/utc.h", "src/config/config.h")
ffi.cdef [[
  int open(const char *path, int flags, ...);
  int close(int fd);
  int pipe(int ends[2]);
  long write(int fd, const void *bytes, size_t len);
]]

local function new_buf()
  return ffi.gc(ffi.new("struct buf"), C.buf_fini)
end

describe("lines", function()
  local function read_all(bytes)
    local path = files.temp_folder() .. "/in"
    files.write_file(path, bytes)
    local lines = ffi.gc(ffi.new("struct lines"), C.lines_fini)
    lines.fd = ffi.C.open(path, 0)
    local text, len, list = ffi.new("const char *[1]"), ffi.new("size_t[1]"), {}
    while true do
      local result = C.lines_next(lines, text, len)
      if result ~= C.LINES_LINE and result ~= C.LINES_TOO_LONG then
        assert.equal(tonumber(C.LINES_END), tonumber(result))
        break
      end
      list[#list + 1] = result == C.LINES_LINE and ffi.string(text[0], len[0]) or false
      assert.equal(#list, tonumber(lines.number))
    end
    assert.equal(tonumber(C.LINES_END), tonumber(C.lines_next(lines, text, len)))
    ffi.C.close(lines.fd)
    return list
  end

  it("come one by one, the last with or without a line feed", function()
    assert.same({}, read_all "")
    assert.same({ "a", "", "b" }, read_all "a\n\nb")
    assert.same({ "a", "b" }, read_all "a\nb\n")
    assert.same({ "" }, read_all "\n")
    assert.same({ "a\0b\r" }, read_all "a\0b\r\n")
  end)

  it("may be longer than one read, but not than the limit", function()
    local long = ("x"):rep(1000000)
    assert.same({ long, "y", long }, read_all(long .. "\ny\n" .. long))
    local over = ("x"):rep(C.LINES_LONGEST + 600000)
    assert.same({ "a", false, "b" }, read_all("a\n" .. over .. "\nb\n"))
    assert.same({ false }, read_all(over))
    assert.same({ false, "" }, read_all(over .. "\n\n"))
  end)

  it("know when they would wait", function()
    local ends = ffi.new("int[2]")
    assert.equal(0, ffi.C.pipe(ends))
    local lines = ffi.gc(ffi.new("struct lines"), C.lines_fini)
    local text, len = ffi.new("const char *[1]"), ffi.new("size_t[1]")
    lines.fd = ends[0]
    assert.is_true(C.lines_would_wait(lines))
    ffi.C.write(ends[1], "a\nb\nc", 5)
    assert.is_false(C.lines_would_wait(lines))
    C.lines_next(lines, text, len)
    assert.is_false(C.lines_would_wait(lines))
    C.lines_next(lines, text, len)
    assert.is_true(C.lines_would_wait(lines)) -- half a line is none
    ffi.C.close(ends[1])
    assert.is_false(C.lines_would_wait(lines))
    C.lines_next(lines, text, len)
    assert.equal("c", ffi.string(text[0], len[0]))
    ffi.C.close(ends[0])
  end)
end)

describe("members", function()
  local function members(text)
    local at, member, list = ffi.new("const char *[1]"), ffi.new("struct member"), {}
    at[0] = text
    while C.members_next(at, ffi.cast("const char *", text) + #text, member) do
      list[#list + 1] = ffi.string(member.name, member.name_len) .. "="
        .. ffi.string(member.value, member.value_len)
    end
    return list
  end

  it("are split at the first level only", function()
    assert.same({}, members "{}")
    assert.same({}, members " { } ")
    assert.same({ 'a="x,}"', "b=-1.5e3", "c=null" }, members '{"a":"x,}","b":-1.5e3,"c":null}')
    assert.same({ [[a\"b="\\"]], "c=[1, {\"x\": \"]\"}]", "d={}" },
      members [[ { "a\"b" : "\\" ,
        "c":[1, {"x": "]"}], "d" : {} } ]])
    assert.same({ '=""' }, members '{"":""}')
  end)
end)

describe("a table", function()
  local function render(columns, cells, width)
    local t, out = ffi.gc(ffi.new("struct table"), C.table_fini), new_buf()
    t.columns = columns
    for _, cell in ipairs(cells) do
      C.table_add(t, cell, #cell)
    end
    C.table_print(t, out, width or 0, false)
    return header.text(out)
  end

  it("aligns columns, by characters, and makes bytes safe", function()
    assert.equal("A   B  C\näö  -  x\\x1b\n1   2  3\n",
      render(3, { "A", "B", "C", "äö", "", "x\27", "1", "2", "3\nmore" }))
  end)

  it("cuts the last column at the width of a terminal", function()
    assert.equal("A  0123456…\nB  12345678\n",
      render(2, { "A", "0123456789abc", "B", "12345678" }, 11))
    assert.equal("A  0123456789\n", render(2, { "A", "0123456789" }, 5)) -- too narrow to be of use
  end)
end)

describe("a state's value", function()
  local function read(bytes)
    local value, why = ffi.new("struct state_value"), ffi.new("struct error")
    if C.state_value_read(bytes, #bytes, value, why) ~= 0 then
      return nil, ffi.string(why.text)
    end
    return tonumber(value.expires_ms), tonumber(value.version), ffi.string(value.packed, value.len)
  end

  it("is read in every form that a packer may choose", function()
    for _, case in ipairs {
      { "\x93\0\1\x80", 0, 1 }, { "\x93\xcc\xff\xcd\1\0\x80", 255, 256 },
      { "\x93\xce\0\1\0\0\xcf\0\0\0\0\0\0\0\2\x80", 65536, 2 },
      { "\x93\xd3\0\0\1\0\0\0\0\0\xd2\0\0\0\3\x80", 2 ^ 40, 3 },
      { "\x93\xcb\x42\x70\0\0\0\0\0\0\xd1\0\4\x80", 2 ^ 40, 4 },
    } do
      assert.same({ case[2], case[3], "\x80" }, { read(case[1]) })
    end
  end)

  it("is refused when it is none, whatever the bytes", function()
    for _, bytes in ipairs { "", "\x93", "\x93\0", "\x93\0\1", "\x92\0\1", "\x93\xff\1\x80",
      "\x93\xd3\xff\0\0\0\0\0\0\0\1\x80",
      "\x93\xcf\0\0\0", "\x93\xa1x\1\x80", "\x93\xcb\xff\xf8\0\0\0\0\0\0\1\x80" } do
      assert.is_nil((read(bytes)), bytes)
    end
  end)

  it("is written as the engine writes it", function()
    local value, out = ffi.new("struct state_value"), new_buf()
    value.expires_ms, value.version, value.packed, value.len = 2 ^ 40 + 5, 7, "\x81\xa1a\1", 4
    C.state_value_append(value, out)
    assert.equal("\x93\xcf\0\0\1\0\0\0\0\5\xce\0\0\0\7\x81\xa1a\1", header.text(out))
  end)
end)

describe("an entry for people", function()
  local function json(codec, ...)
    local words, out = { ... }, new_buf()
    local texts = ffi.new("struct entry_text[?]", #words)
    for i, word in ipairs(words) do
      texts[i - 1].bytes, texts[i - 1].len = word, #word
    end
    C.entry_append_json(out, codec, texts, #words)
    return header.text(out)
  end

  it("is an event as the codec has it, else its fields", function()
    local packed, text = "\x81\xa1a\x01", '{"a": 1}'
    for _, case in ipairs {
      { C.CODEC_AUTO, packed, '"event":{"a":1}' }, { C.CODEC_AUTO, text, '"event":{"a":1}' },
      { C.CODEC_AUTO, "x", '"event":{"d":"x"}' }, { C.CODEC_AUTO, "", '"event":{"d":""}' },
      { C.CODEC_AUTO, '{"a"', '"fields":{"d":"{\\"a\\""}' },
      { C.CODEC_AUTO, "\xde", '"fields":{"d":"\\\\xde"}' },
      { C.CODEC_MSGPACK, packed, '"event":{"a":1}' },
      { C.CODEC_MSGPACK, "x", '"fields":{"d":"x"}' },
      { C.CODEC_JSON, text, '"event":{"a":1}' }, { C.CODEC_JSON, "[1]", '"fields":{"d":"[1]"}' },
      { C.CODEC_FIELDS, "x", '"event":{"d":"x"}' },
    } do
      assert.equal(case[3], json(case[1], "d", case[2]))
    end
    assert.equal('"event":{"a":"1","b":"2"}', json(C.CODEC_AUTO, "a", "1", "b", "2"))
    assert.equal('"fields":{"a":"1","b":"2"}', json(C.CODEC_JSON, "a", "1", "b", "2"))
    assert.equal('"event":{"d":"{}"}', json(C.CODEC_FIELDS, "d", "{}"))
  end)
end)

describe("a moment", function()
  it("is shown in UTC with milliseconds", function()
    local text = ffi.new("char[32]")
    for ms, want in pairs { [0] = "1970-01-01T00:00:00.000Z",
      [1795359845123] = "2026-11-22T15:04:05.123Z",
      [951782400000] = "2000-02-29T00:00:00.000Z", [1e18] = "9999-12-31T23:59:59.999Z" } do
      C.utc_format(ms, text)
      assert.equal(want, ffi.string(text))
    end
  end)
end)
