-- unpack.lua against msgpack.c: the same tokens and the same words, whatever the bytes.
local runtime = require "spec.support.runtime"
local codec = require "spec.support.codec"
local unpack_reader = require("tidemill.unpack").reader
local ffi = require "ffi"

local function text_of_tokens(list, count)
  local parts = {}
  for i = 0, count - 1 do
    local t, kind = list[i], string.char(list[i].type)
    local v = ""
    if kind == "n" then v = ("%.17g"):format(t.number)
    elseif kind == "i" then v = tostring(t.i64)
    elseif kind == "u" then v = tostring(t.u64)
    elseif kind == "s" then v = ffi.string(t.bytes, t.len)
    elseif kind == "x" then v = t.ext_type .. ":" .. ffi.string(t.bytes, t.len)
    elseif kind == "a" or kind == "m" then v = tostring(t.len)
    end
    parts[#parts + 1] = ("%s%d<%s>"):format(kind, t.size, v)
  end
  return table.concat(parts, " ")
end

local ours = ffi.new "struct tokens"
local reader = unpack_reader(ours)
local theirs, err = ffi.new "struct tokens", ffi.new "struct error"

local function both(bytes, depth, elements)
  local ok, why = reader:read(bytes, depth or 32, elements or 65536)
  local a = ok and text_of_tokens(ours.list, ours.count) or "error " .. why
  local limits = ffi.new("struct msgpack_limits", depth or 32, elements or 65536)
  local code = codec.C.msgpack_tokens(bytes, #bytes, limits, theirs, err)
  local b = code == 0 and text_of_tokens(theirs.list, theirs.count) or "error " .. ffi.string(err.text)
  return a, b
end

local function check(bytes, depth, elements)
  local a, b = both(bytes, depth, elements)
  if a ~= b then error(("%s\n in C: %s\n here: %s"):format(codec.to_hex(bytes), b, a), 0) end
  return a
end

describe("unpack", function()
  it("reads every form as the engine does", function()
    for first = 0, 255 do
      for _, rest in ipairs { "", "\0", "\1a", "\0\1a",
        "\0\0\0\1a", ("\0"):rep(9), ("\255"):rep(9), ("\127"):rep(20), "\128\1\2\3\4\5\6\7" } do
        check(string.char(first) .. rest)
      end
    end
  end)

  it("is exact at every limit of numbers", function()
    for _, hex in ipairs {
      "cf 0020000000000000", "cf 0020000000000001", "cf 7fffffffffffffff", "cf 8000000000000000", "cf ffffffffffffffff",
      "d3 ffe0000000000000", "d3 ffdfffffffffffff", "d3 8000000000000000", "d3 7fffffffffffffff", "d3 ffffffffffffffff",
      "cb 7ff0000000000000", "cb fff0000000000000", "cb 0000000000000001", "cb 8000000000000000", "cb 3fb999999999999a",
      "ca 7f800000", "ca ff800000", "ca 00000001", "ca 80000000", "ca 3fc00000", "d0 80", "d1 8000", "d2 80000000", "e0",
    } do
      assert.not_matches("^error", check(codec.hex(hex)))
    end
  end)

  it("lets no forged nan through", function()
    for _, hex in ipairs { "cb fffa000000001234", "cb 7ff8000000000001", "cb fff8000000000001", "cb 7ff0000000000001",
      "cb ffffffffffffffff",
      "ca 7fc00001", "ca ffffffff", "ca 7f800001" } do
      assert(reader:read(codec.hex(hex), 32, 10))
      local bits = ffi.new "union { double number; uint64_t u64; }"
      bits.number = ours.list[0].number
      assert.is_true(bits.u64 == 0x7ff8000000000000ULL or bits.u64 == 0xfff8000000000000ULL, hex)
    end
  end)

  it("keeps the limits of depth and elements", function()
    for depth = 0, 4 do
      for nested = 0, 5 do check(("\145"):rep(nested) .. "\192", depth) end
    end
    for elements = 0, 6 do check("\131\1\2\3\4\5\6", 32, elements) end
    check("\221\255\255\255\255", 32, 10)
    check(("\145"):rep(100) .. "\1", 128)
  end)

  it("agrees on random bytes", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local heads = { 0x80, 0x81, 0x82, 0x8f, 0x90, 0x91, 0x92, 0xa1, 0xa3, 0xc0, 0xc1, 0xc2, 0xc4, 0xc7, 0xca, 0xcb, 0xcc, 0xcf, 0xd3,
      0xd4, 0xd9, 0xda, 0xdc, 0xdd, 0xde, 0xdf, 0x00, 0x7f, 0xff, 0x01, 0x02 }
    local good = 0
    for n = 1, 20000 do
      local bytes = {}
      for i = 1, draw(24) do bytes[i] = string.char(draw(2) == 1 and heads[draw(#heads)] or draw(256) - 1) end
      local ok, said = pcall(check, table.concat(bytes), draw(10), draw(30))
      assert(ok, ("seed %d, round %d: %s"):format(seed, n, said))
      if not said:find "^error" then good = good + 1 end
    end
    assert.is_true(good > 100)
  end)

  it("agrees on random documents, whole and spoiled", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local function document(depth)
      local kind = draw(depth > 4 and 6 or 9)
      if kind == 1 then return string.char(draw(128) - 1) end
      if kind == 2 then return codec.head("string", 40) .. ("x"):rep(40) end
      if kind == 3 then return "\203" .. codec.big(draw(2 ^ 31), 8) end
      if kind == 4 then return "\192" end
      if kind == 5 then return "\199\3" .. string.char(draw(256) - 1) .. "abc" end
      if kind == 6 then return "\162" .. string.char(96 + draw(26), 96 + draw(26)) end
      local parts, count = {}, draw(6) - 1
      for i = 1, count do parts[i] = (kind == 7 and "" or document(9)) .. document(depth + 1) end
      return codec.head(kind == 7 and "array" or "map", count) .. table.concat(parts)
    end
    for n = 1, 3000 do
      local bytes = document(1)
      local ok, said = pcall(check, bytes)
      assert(ok and not said:find "^error", ("seed %d, round %d: %s"):format(seed, n, said))
      local at = draw(#bytes)
      ok, said = pcall(check, bytes:sub(1, at - 1) .. string.char(draw(256) - 1) .. bytes:sub(at + draw(2)))
      assert(ok, ("seed %d, round %d, spoiled: %s"):format(seed, n, said))
    end
  end)

  it("keeps what it read until the next time", function()
    local tokens = ffi.new "struct tokens"
    local own = unpack_reader(tokens)
    assert(own:read(("\161"):rep(1) .. "k", 1, 1))
    for _ = 1, 50 do collectgarbage() end
    assert.equal("k", ffi.string(tokens.list[0].bytes, tokens.list[0].len))
    assert(own:read("\220\1\44" .. ("\7"):rep(300), 2, 1000)) -- the list grows
    assert.equal(301, tokens.count)
    assert.equal(7, tokens.list[300].number)
    assert.is_nil(own:read("", 1, 1))
    assert.equal(0, tokens.count)
  end)
end)
