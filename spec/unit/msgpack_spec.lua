local ffi = require "ffi"
local codec = require "spec.support.codec"
local C, hex, big = codec.C, codec.hex, codec.big

local FORMAT, LIMIT = tonumber(C.ERROR_FORMAT), tonumber(C.ERROR_LIMIT)

local function one(bytes)
  local list, code, text = codec.tokens(bytes)
  assert(list, text)
  assert.equal(1, #list, code)
  assert.equal(1, list[1].size)
  return list[1]
end

-- The error of bytes that must not be read.
local function fault(bytes, depth, elements)
  local list, code, text = codec.tokens(bytes, depth, elements)
  assert.is_nil(list)
  return text, code
end

-- Every form once, with what comes out.
local forms = {
  { "c0", "z" }, { "c2", "f" }, { "c3", "t" },
  { "00", "n", 0 }, { "7f", "n", 127 }, { "e0", "n", -32 }, { "ff", "n", -1 },
  { "cc 00", "n", 0 }, { "cc ff", "n", 255 }, { "cd 0100", "n", 256 }, { "cd ffff", "n", 65535 },
  { "ce 00010000", "n", 65536 }, { "ce ffffffff", "n", 4294967295 },
  { "d0 80", "n", -128 }, { "d0 7f", "n", 127 }, { "d1 8000", "n", -32768 }, { "d1 7fff", "n", 32767 },
  { "d2 80000000", "n", -2147483648 }, { "d2 7fffffff", "n", 2147483647 },
  { "ca 3fc00000", "n", 1.5 }, { "ca 7f800000", "n", math.huge }, { "ca 00000001", "n", 2 ^ -149 },
  { "cb 3ff8000000000000", "n", 1.5 }, { "cb fff0000000000000", "n", -math.huge },
  { "cb 0000000000000001", "n", 2 ^ -1074 }, { "cb 3fb999999999999a", "n", 0.1 },
  { "a0", "s", "" }, { "a3 616263", "s", "abc" }, { "d9 02 6162", "s", "ab" }, { "da 0002 6162", "s", "ab" },
  { "db 00000002 6162", "s", "ab" }, { "c4 02 00ff", "s", "\0\xff" }, { "c5 0002 6162", "s", "ab" },
  { "c6 00000002 6162", "s", "ab" }, { "d9 00", "s", "" }, { "c4 00", "s", "" },
  { "d4 05 61", "x", "a", 5 }, { "d5 80 6162", "x", "ab", -128 }, { "d6 ff 61626364", "x", "abcd", -1 },
  { "d7 7f 6162636465666768", "x", "abcdefgh", 127 },
  { "d8 01 61626364656667686162636465666768", "x", "abcdefghabcdefgh", 1 },
  { "c7 03 09 616263", "x", "abc", 9 }, { "c7 00 09", "x", "", 9 }, { "c8 0001 fe 61", "x", "a", -2 },
  { "c9 00000001 00 61", "x", "a", 0 },
}

local containers = {
  { "90", "a", 0 }, { "80", "m", 0 }, { "91 01", "a", 1 }, { "81 a1 61 01", "m", 1 },
  { "dc 0000", "a", 0 }, { "dc 0002 01 02", "a", 2 }, { "dd 00000000", "a", 0 }, { "dd 00000001 c0", "a", 1 },
  { "de 0000", "m", 0 }, { "de 0001 01 02", "m", 1 }, { "df 00000000", "m", 0 }, { "df 00000001 01 02", "m", 1 },
}

-- A document with each form in it.
local function everything()
  local parts = {}
  for _, form in ipairs(forms) do
    parts[#parts + 1] = hex(form[1])
  end
  for _, form in ipairs(containers) do
    parts[#parts + 1] = hex(form[1])
  end
  local pairs_of = "\x82\xa1k" .. "\x92\x01\x81\xa1j\x90" .. "\xa1l" .. "\xc0"
  parts[#parts + 1] = pairs_of
  return "\xdc" .. big(#parts, 2) .. table.concat(parts)
end

-- Sizes say where siblings begin: every container must end exactly where its last element does.
local function check_sizes(list, index)
  local t = list[index]
  local next_index = index + 1
  local elements = t.type == "a" and t.len or t.type == "m" and t.len * 2 or 0
  for _ = 1, elements do
    next_index = check_sizes(list, next_index)
  end
  if t.size ~= next_index - index then
    error(("token %d: size %d, but %d tokens"):format(index, t.size, next_index - index))
  end
  return next_index
end

describe("msgpack tokens", function()
  for _, form in ipairs(forms) do
    it("read " .. form[1], function()
      local token = one(hex(form[1]))
      assert.same({ type = form[2], value = form[3], size = 1, ext_type = form[4] }, token)
    end)
  end

  for _, form in ipairs(containers) do
    it("read the container " .. form[1], function()
      local list = assert(codec.tokens(hex(form[1])))
      assert.equal(form[2], list[1].type)
      assert.equal(form[3], list[1].len)
      assert.equal(#list, list[1].size)
      assert.equal(#list + 1, check_sizes(list, 1))
    end)
  end

  it("read every fixint", function()
    for n = 0, 127 do
      assert.equal(n, one(string.char(n)).value)
    end
    for n = -32, -1 do
      assert.equal(n, one(string.char(256 + n)).value)
    end
  end)

  it("read every fixstr, fixarray and fixmap", function()
    for len = 0, 31 do
      local text = ("x"):rep(len)
      assert.equal(text, one(string.char(0xa0 + len) .. text).value)
    end
    for len = 0, 15 do
      local list = assert(codec.tokens(string.char(0x90 + len) .. ("\x01"):rep(len)))
      assert.same({ type = "a", len = len, size = len + 1 }, list[1])
      list = assert(codec.tokens(string.char(0x80 + len) .. ("\xa1k\x01"):rep(len)))
      assert.same({ type = "m", len = len, size = 2 * len + 1 }, list[1])
    end
  end)

  it("read strings as long as each header allows", function()
    for _, row in ipairs { { "\xd9", 1, 255 }, { "\xda", 2, 65535 }, { "\xdb", 4, 70000 }, { "\xc6", 4, 70000 } } do
      local text = ("y"):rep(row[3])
      assert.equal(text, one(row[1] .. big(row[3], row[2]) .. text).value)
    end
  end)

  -- LuaJIT's FFI takes other nans for tagged pointers: they would forge Lua objects.
  it("have one nan, whatever its bits were", function()
    local nans = { "cb 7ff8000000000000", "cb fff8000000000000", "cb 7ff0000000000001", "cb ffffffffffffffff",
      "cb fffeffffffffffff", "cb fffa000012345678", "cb fffd800000000000", "ca 7fc00000", "ca ffffffff", "ca 7f800001" }
    for _, bytes in ipairs(nans) do
      local tokens, copy = ffi.new("struct tokens"), hex(bytes)
      local limits = ffi.new("struct msgpack_limits", 1, 1)
      assert.equal(0, C.msgpack_tokens(copy, #copy, limits, tokens, nil))
      assert.is_true(tokens.list[0].u64 == 0x7ff8000000000000ULL)
      C.tokens_fini(tokens)
      local nan = one(copy).value
      assert.equal("number", type(nan))
      assert.is_true(nan ~= nan)
    end
  end)

  it("keep the sign of zero", function()
    assert.equal(-math.huge, 1 / one(hex "cb 8000000000000000").value)
    assert.equal(-math.huge, 1 / one(hex "ca 80000000").value)
  end)

  it("are numbers up to 2^53 and exact 64-bit integers beyond", function()
    local rows = {
      { "cf 0000000000000000", "n", 0 },
      { "cf 0020000000000000", "n", 2 ^ 53 },
      { "cf 0020000000000001", "i", "9007199254740993" },
      { "cf 7fffffffffffffff", "i", "9223372036854775807" },
      { "cf 8000000000000000", "u", "9223372036854775808" },
      { "cf ffffffffffffffff", "u", "18446744073709551615" },
      { "d3 0020000000000000", "n", 2 ^ 53 },
      { "d3 0020000000000001", "i", "9007199254740993" },
      { "d3 7fffffffffffffff", "i", "9223372036854775807" },
      { "d3 ffffffffffffffff", "n", -1 },
      { "d3 ffe0000000000000", "n", -2 ^ 53 },
      { "d3 ffdfffffffffffff", "i", "-9007199254740993" },
      { "d3 8000000000000000", "i", "-9223372036854775808" },
    }
    for _, row in ipairs(rows) do
      assert.same({ type = row[2], value = row[3], size = 1 }, one(hex(row[1])))
    end
  end)

  it("lie flat in document order, with the size of each value", function()
    -- {"a": [1, {"b": nil}, []], "c": "d"}
    local list = assert(codec.tokens(hex "82 a161 93 01 81 a162 c0 90 a163 a164"))
    local seen = {}
    for i, t in ipairs(list) do
      seen[i] = t.type .. t.size
    end
    assert.equal("m10 s1 a6 n1 m3 s1 z1 a1 s1 s1", table.concat(seen, " "))
  end)

  it("replace what the list held, and keep its memory", function()
    local tokens = ffi.new("struct tokens")
    local many = "\xdc" .. big(1000, 2) .. ("\x01"):rep(1000)
    assert.equal(1001, #assert(codec.tokens(many, nil, nil, tokens)))
    local list, cap = tokens.list, tokens.cap
    assert.equal(1, #assert(codec.tokens("\x05", nil, nil, tokens)))
    assert.equal(1001, #assert(codec.tokens(many, nil, nil, tokens)))
    assert.is_true(tokens.list == list and tokens.cap == cap)
    assert.is_nil(codec.tokens("\xc1", nil, nil, tokens))
    assert.equal(0, tokens.count)
    C.tokens_fini(tokens)
    assert.is_true(tokens.list == nil)
    assert.equal(0, tokens.cap)
  end)

  it("of a document with every form have consistent sizes", function()
    local list = assert(codec.tokens(everything()))
    assert.equal(#list + 1, check_sizes(list, 1))
  end)
end)

describe("msgpack faults", function()
  local rows = {
    { "", "at byte 0: the bytes end where a value is due" },
    { "92 01", "at byte 0: array of 2 elements, 1 is left" },
    { "92 92 01", "at byte 1: array of 2 elements, 1 is left" },
    { "92 a1 61", "at byte 3: the bytes end where a value is due" },
    { "82 a1 61 01", "at byte 0: map of 2 pairs, 3 are left" },
    { "81 a1 61", "at byte 3: the bytes end where a value is due" },
    { "81", "at byte 0: map of 1 pair, 0 are left" },
    { "93 a1 61 a2 62", "at byte 3: string of 2 bytes, 1 is left" },
    { "a3 61", "at byte 0: string of 3 bytes, 1 is left" },
    { "a1", "at byte 0: string of 1 byte, 0 are left" },
    { "d9 28 61 62 63 64 65 66 67", "at byte 0: string of 40 bytes, 7 are left" },
    { "c4 02 00", "at byte 0: string of 2 bytes, 1 is left" },
    { "db ffffffff 61", "at byte 0: string of 4294967295 bytes, 1 is left" },
    { "c9 ffffffff 01 61", "at byte 0: ext of 4294967295 bytes, 1 is left" },
    { "d8 01 61", "at byte 0: ext of 16 bytes, 1 is left" },
    { "d4", "at byte 0: fixext1 of 2 bytes, 1 is left" },
    { "cd 01", "at byte 0: uint16 of 3 bytes, 2 are left" },
    { "cb 0102", "at byte 0: float64 of 9 bytes, 3 are left" },
    { "91 d3 0000", "at byte 1: int64 of 9 bytes, 3 are left" },
    { "da 00", "at byte 0: str16 of 3 bytes, 2 are left" },
    { "dd 0000", "at byte 0: array32 of 5 bytes, 3 are left" },
    { "df", "at byte 0: map32 of 5 bytes, 1 is left" },
    { "c1", "at byte 0: 0xc1 begins no msgpack value" },
    { "92 01 c1", "at byte 2: 0xc1 begins no msgpack value" },
    { "c0 c0", "at byte 1: 1 byte behind the value" },
    { "91 01 02 03", "at byte 2: 2 bytes behind the value" },
    { "df ffffffff 01 02 03", "at byte 0: map of 4294967295 pairs, 3 are left" },
    { "dd ffffffff", "at byte 0: array of 4294967295 elements, 0 are left" },
  }
  for _, row in ipairs(rows) do
    it("name the byte: " .. row[2], function()
      local text, code = fault(hex(row[1]))
      assert.equal(row[2], text)
      assert.equal(FORMAT, code)
    end)
  end

  it("of a false claim cost no memory", function()
    local tokens = ffi.new("struct tokens")
    assert.is_nil(codec.tokens(hex "df ffffffff 01 02 03", 32, 0xffffffff, tokens))
    -- Each level claims all that the one above has left for it.
    local lies = {}
    for left = 60000, 3, -3 do
      lies[#lies + 1] = "\xdc" .. big(left - 3, 2)
    end
    assert.is_nil(codec.tokens(table.concat(lies), 0xffffffff, 0xffffffff, tokens))
    assert.is_true(tokens.cap <= 131072)
    C.tokens_fini(tokens)
  end)

  it("are found in every prefix of every form", function()
    local documents = { everything() }
    for _, list in ipairs { forms, containers } do
      for _, form in ipairs(list) do
        documents[#documents + 1] = hex(form[1])
      end
    end
    for _, document in ipairs(documents) do
      assert.is_truthy(codec.tokens(document))
      for len = 0, #document - 1 do
        local text, code = fault(document:sub(1, len))
        assert.equal(FORMAT, code)
        local at = tonumber(text:match("^at byte (%d+): "))
        assert.is_true(at ~= nil and at <= len, text)
      end
    end
  end)

  it("are no crash, and success means consistent sizes, whatever bytes are damaged", function()
    local seed = codec.seed()
    local document = everything()
    for _ = 1, 5000 do
      local at = math.random(#document)
      local bytes = document:sub(1, at - 1) .. string.char(math.random(0, 255)) .. document:sub(at + 1)
      local list, _, text = codec.tokens(bytes)
      if list then
        assert.equal(#list + 1, check_sizes(list, 1), seed)
      else
        assert.is_truthy(text:match("^at byte %d+: "), seed)
      end
    end
  end)
end)

describe("msgpack limits", function()
  it("count nested arrays and maps, a scalar being 0", function()
    assert.is_truthy(codec.tokens("\x01", 0))
    assert.equal("at byte 0: nested deeper than 0", (fault("\x90", 0)))
    assert.is_truthy(codec.tokens("\x90", 1))
    assert.is_truthy(codec.tokens("\x91\x91\x91\x90", 4))
    local text, code = fault("\x91\x91\x91\x90", 3)
    assert.equal("at byte 3: nested deeper than 3", text)
    assert.equal(LIMIT, code)
    assert.equal("at byte 5: nested deeper than 2", (fault(hex "82 a161 81 01 90 a162", 2)))
  end)

  it("let siblings be as many as they like at one depth", function()
    assert.is_truthy(codec.tokens("\xdc" .. big(1000, 2) .. ("\x91\x90"):rep(1000), 3))
    assert.equal("at byte 2005: nested deeper than 3",
      (fault("\xdc" .. big(1001, 2) .. ("\x91\x90"):rep(1000) .. "\x91\x91\x90", 3)))
  end)

  it("allow a nesting of a million without using the C stack", function()
    local deep = ("\x91"):rep(1000000) .. "\xc0"
    local tokens = ffi.new("struct tokens")
    local limits, err = ffi.new("struct msgpack_limits", 1000000, 2000000), ffi.new("struct error")
    assert.equal(0, C.msgpack_tokens(deep, #deep, limits, tokens, err))
    assert.equal(1000001, tokens.count)
    assert.equal(1000001, tokens.list[0].size)
    assert.equal(2, tokens.list[999999].size)
    C.tokens_fini(tokens)
    assert.equal("at byte 32: nested deeper than 32", (fault(deep)))
  end)

  it("count every token", function()
    assert.is_truthy(codec.tokens("\x92\x01\x02", 32, 3))
    local text, code = fault("\x92\x01\x02", 32, 2)
    assert.equal("at byte 0: more than 2 elements", text)
    assert.equal(LIMIT, code)
    assert.is_truthy(codec.tokens("\x81\x01\x91\x02", 32, 4))
    assert.equal("at byte 2: more than 3 elements", (fault("\x81\x01\x91\x02", 32, 3)))
    assert.is_truthy(codec.tokens("\x01", 32, 1))
    assert.equal("at byte 0: more than 1 element", (fault("\x91\x01", 32, 1)))
    assert.equal("at byte 0: more than 0 elements", (fault("\x01", 32, 0)))
  end)
end)
