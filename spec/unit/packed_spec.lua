local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/replay/packed.h", "src/replay/words.h", "src/redis/command.h", "src/base/buf.h")

local SEED = runtime.seed()

-- Calls with a span over a copy of exactly its size, so that AddressSanitizer sees any read beyond it.
local function with(bytes, call)
  return codec.with_exact(bytes, function(copy, len) return call(ffi.new("struct span", ffi.cast("const char *", copy), len)) end)
end

local function packed(json)
  return assert(codec.from_json(json))
end

-- The length of the first value, 0 when there is none.
local function length(bytes)
  return with(bytes, function(span) return tonumber(C.packed_value(span.bytes, span.len).len) end)
end

local function equal(a, b)
  return with(a, function(x) return with(b, function(y) return C.packed_equal(x, y) end) end)
end

local function number(bytes)
  return with(bytes, function(span)
    local out = ffi.new "double[1]"
    return C.packed_number(span, out) and out[0] or nil
  end)
end

describe("values in msgpack bytes, seed " .. SEED, function()
  local EVERY = { "\xc0", "\xc2", "\xc3", "\x05", "\xff", "\xe0", "\xcc\xff", "\xcd\1\2", "\xce\1\2\3\4",
    "\xcf" .. ("\1"):rep(8), "\xd0\x80", "\xd1\xff\1",
    "\xd2\xff\0\0\1", "\xd3" .. ("\xff"):rep(8), "\xca\x3f\x80\0\0", "\xcb\x3f\xf0" .. ("\0"):rep(6), "\xa3abc", "\xd9\3abc",
    "\xda\0\3abc", "\xdb\0\0\0\3abc", "\xc4\2ab", "\xc5\0\2ab", "\xc6\0\0\0\2ab", "\xd4\1a", "\xd5\1ab", "\xd6\1abcd", "\xd7\1abcdefgh",
    "\xd8\1" .. ("x"):rep(16), "\xc7\2\1ab", "\xc8\0\2\1ab", "\xc9\0\0\0\2\1ab", "\x92\1\xa1a", "\xdc\0\2\1\2", "\xdd\0\0\0\2\1\2",
    "\x82\xa1a\1\xa1b\x91\x81\1\2", "\xde\0\1\1\2", "\xdf\0\0\0\1\1\2", "\x80", "\x90", "\xa0" }

  it("are as long as they are, of every kind; one that is cut is none", function()
    for _, bytes in ipairs(EVERY) do
      assert.equal(#bytes, length(bytes))
      assert.equal(#bytes, length(bytes .. "\1tail"))
      for cut = 0, #bytes - 1 do
        assert.equal(0, length(bytes:sub(1, cut)))
      end
    end
    assert.equal(0, length "\xdd\xff\xff\xff\xff")
    assert.equal(10001, length(("\x91"):rep(10000) .. "\1"))
  end)

  it("are numbers with their values", function()
    for bytes, expected in pairs { ["\x05"] = 5, ["\xff"] = -1, ["\xe0"] = -32, ["\xcc\xff"] = 255, ["\xcd\1\2"] = 258, ["\xd0\x80"] = -128,
      ["\xd1\xff\1"] = -255, ["\xd2\xff\0\0\1"] = -16777215, ["\xd3" .. ("\xff"):rep(8)] = -1, ["\xcf" .. ("\xff"):rep(8)] = 2 ^ 64,
      ["\xca\x3f\xc0\0\0"] = 1.5, ["\xcb\xbf\xe0" .. ("\0"):rep(6)] = -0.5 } do
      assert.equal(expected, number(bytes))
    end
    for _, bytes in ipairs { "\xc0", "\xc3", "\xa11", "\x80", "\xd4\1a" } do
      assert.is_nil(number(bytes))
    end
  end)

  it("are equal when they mean the same: maps in any order, numbers in any form", function()
    local a = packed '{"a":1,"b":[1,{"x":1,"y":2}],"c":"t"}'
    assert.is_true(equal(a, packed '{"c":"t","b":[1,{"y":2,"x":1}],"a":1}'))
    assert.is_true(equal("\x81\xa1a\1", "\xde\0\1\xd9\1a\xcb\x3f\xf0" .. ("\0"):rep(6)))
    assert.is_true(equal("\xa1a", "\xc4\1a"))
    local beyond = "\0\x20" .. ("\0"):rep(5) -- 2^53, and what follows it: as doubles they are the same
    assert.is_false(equal("\xcf" .. beyond .. "\1", "\xcf" .. beyond .. "\0"))
    assert.is_false(equal("\xcf" .. beyond .. "\1", "\xcb\x43\x40" .. ("\0"):rep(6)))
    assert.is_true(equal("\xd3" .. beyond .. "\0", "\xcb\x43\x40" .. ("\0"):rep(6)))
    assert.is_false(equal("\xcf" .. ("\xff"):rep(8), "\xd3" .. ("\xff"):rep(8)))
    for _, other in ipairs { '{"c":"t","b":[1,{"y":2,"x":3}],"a":1}', '{"c":"t","b":[{"y":2,"x":1},1],"a":1}', '{"a":1,"c":"t"}',
      '{"a":1,"b":[1,{"x":1,"y":2}],"d":"t"}', '{"a":"1","b":[1,{"x":1,"y":2}],"c":"t"}', "[]", "1", '"a"' } do
      assert.is_false(equal(a, packed(other)), other)
      assert.is_false(equal(packed(other), a), other)
    end
    for _, bytes in ipairs(EVERY) do
      assert.is_true(equal(bytes, bytes))
    end
    assert.is_false(equal("\xc2", "\xc3"))
    assert.is_false(equal("\xc0", "\xc2"))
  end)

  it("never read beyond the end, whatever the bytes", function()
    local draw = runtime.generator(SEED)
    for _ = 1, 3000 do
      local bytes = {}
      for i = 1, draw(20) do
        bytes[i] = string.char(draw(256) - 1)
      end
      local text = table.concat(bytes)
      assert.is_true(length(text) <= #text)
      with(text, function(span)
        local walk = ffi.new "struct packed_walk"
        local key, value = ffi.new "struct span[1]", ffi.new "struct span[1]"
        while C.packed_next(walk, span, key, value) do
          number(ffi.string(value[0].bytes, value[0].len))
        end
      end)
    end
  end)

  it("of a command are its words", function()
    local function emit_of(...)
      local out, words = ffi.new "struct buf", ffi.new "struct words"
      local count = select("#", ...)
      C.command_begin(out, count)
      for _, word in ipairs { ... } do
        C.command_argument(out, word, #word)
      end
      C.words_read(words, out.data, out.len)
      assert.equal(count, tonumber(words.count))
      assert.equal(tonumber(out.len), tonumber(words.len))
      for i, word in ipairs { ... } do
        assert.equal(word, ffi.string(words.list[i - 1].bytes, words.list[i - 1].len))
      end
      local stream, payload = ffi.new "struct span[1]", ffi.new "struct span[1]"
      local is_emit = C.words_emit(words, stream, payload)
      local found = is_emit and { ffi.string(stream[0].bytes, stream[0].len), ffi.string(payload[0].bytes, payload[0].len) } or nil
      C.words_fini(words)
      C.buf_fini(out)
      return found
    end
    assert.same({ "s\r\n", "\x80\r\n" }, emit_of("XADD", "s\r\n", "*", "data", "\x80\r\n"))
    assert.same({ "s", "\x80" }, emit_of("XADD", "s", "MAXLEN", "~", "5", "*", "data", "\x80"))
    assert.is_nil(emit_of("XADD", "s", "*", "data", "\x80", "more", "1"))
    assert.is_nil(emit_of("XADD", "s", "1-1", "data", "\x80"))
    assert.is_nil(emit_of("SET", "", "*", "data", "\x80"))
    assert.is_nil(emit_of "PING")
  end)
end)
