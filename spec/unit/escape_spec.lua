local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/base/escape.h")

local function escaped(how, bytes)
  local out = ffi.gc(ffi.new("struct buf"), C.buf_fini)
  codec.with_exact(bytes, function(copy, len) C["escape_" .. how](out, copy, len) end)
  return header.text(out)
end

local function utf8_len(bytes)
  return (codec.with_exact(bytes, function(copy, len) return tonumber(C.escape_utf8_len(copy, len)) end))
end

local function is_utf8(bytes)
  return (codec.with_exact(bytes, function(copy, len) return C.escape_is_utf8(copy, len) end))
end

-- The bytes of a code point, by the book, also for those that have none.
local function encode(point)
  local function tail(n) return string.char(0x80 + n % 64) end
  local f = math.floor
  if point < 0x80 then return string.char(point) end
  if point < 0x800 then return string.char(0xc0 + f(point / 64)) .. tail(point) end
  if point < 0x10000 then return string.char(0xe0 + f(point / 4096)) .. tail(f(point / 64)) .. tail(point) end
  return string.char(0xf0 + f(point / 262144)) .. tail(f(point / 4096)) .. tail(f(point / 64)) .. tail(point)
end

describe("UTF-8", function()
  it("is every code point but the surrogates, up to U+10FFFF", function()
    local at = 0
    while at <= 0x1fffff do
      local is_good = at <= 0x10ffff and not (at >= 0xd800 and at <= 0xdfff)
      local bytes = encode(at)
      if (utf8_len(bytes) == #bytes) ~= is_good then error(("U+%04X"):format(at)) end
      -- Near every boundary all of them, in between some.
      local is_edge = at < 0x900 or at % 0x1000 > 0xff0 or at % 0x1000 < 8 or (at > 0xd7f0 and at < 0xe010)
      at = at + (is_edge and 1 or 13)
    end
  end)

  it("has no overlong forms", function()
    for _, bytes in ipairs { "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
      "\xf8\x88\x80\x80\x80", "\xfe", "\xff" } do
      assert.equal(0, utf8_len(bytes), codec.to_hex(bytes))
    end
  end)

  it("is not cut short, and needs its following bytes", function()
    for _, bytes in ipairs { "ü", "€", "𝄞" } do
      assert.is_true(is_utf8(bytes))
      for len = 1, #bytes - 1 do
        assert.equal(0, utf8_len(bytes:sub(1, len)))
        assert.is_false(is_utf8("a" .. bytes:sub(1, len)))
        for _, other in ipairs { "\0", "a", "\xc0", "\xff" } do
          assert.equal(0, utf8_len(bytes:sub(1, len) .. other .. bytes:sub(len + 2)))
        end
      end
    end
    for byte = 0x80, 0xbf do assert.equal(0, utf8_len(string.char(byte))) end
    assert.is_true(is_utf8 "")
    assert.is_true(is_utf8 "a\0é€𝄞")
  end)
end)

describe("escaped for people", function()
  it("has every control character shown", function()
    for byte = 0, 0x7f do
      local c = string.char(byte)
      local want = byte == 10 and "\\n" or byte == 9 and "\\t" or byte == 13 and "\\r"
        or (byte < 32 or byte == 127) and ("\\x%02x"):format(byte) or c
      assert.equal(want, escaped("text", c))
      assert.equal('"' .. ((c == '"' or c == "\\") and "\\" .. c or want) .. '"', escaped("quoted", c))
    end
    for byte = 0x80, 0x9f do assert.equal(("\\x%02x"):format(byte), escaped("text", "\xc2" .. string.char(byte))) end
    for byte = 0x80, 0xff do assert.equal(("\\x%02x"):format(byte), escaped("text", string.char(byte))) end
    assert.equal("\xc2\xa0", escaped("text", "\xc2\xa0")) -- the first behind the controls
  end)

  it("keeps everything else where it was", function()
    assert.equal([[a\nb\xffc é\x1b[0m]], escaped("text", "a\nb\xffc é\27[0m"))
    assert.equal("", escaped("text", ""))
    assert.equal('""', escaped("quoted", ""))
    assert.equal([["say \"\\\" \n"]], escaped("quoted", 'say "\\" \n'))
  end)

  local seed = runtime.seed()
  it("obeys no byte of others, whatever they are, seed " .. seed, function()
    local draw = runtime.generator(seed)
    for _ = 1, 5000 do
      local bytes = {}
      for i = 1, draw(12) do bytes[i] = string.char(draw(3) == 1 and draw(32) - 1 or draw(256) - 1) end
      local text = escaped("text", table.concat(bytes))
      assert(not text:find "[%c\127]" and is_utf8(text) and not text:find "\xc2[\x80-\x9f]", "seed " .. seed)
    end
  end)
end)

describe("escaped for JSON", function()
  it("is one string of it", function()
    for byte = 0, 0x7f do
      local c = string.char(byte)
      local want = byte == 10 and "\\n" or byte == 9 and "\\t" or byte == 13 and "\\r" or (c == '"' or c == "\\") and "\\" .. c
        or (byte < 32 or byte == 127) and ("\\u%04x"):format(byte) or c
      assert.equal('"' .. want .. '"', escaped("json", c))
    end
    assert.equal([["\u0080\u009f"]], escaped("json", "\xc2\x80\xc2\x9f"))
    assert.equal([["\\xff\\xc0é"]], escaped("json", "\xff\xc0é"))
  end)

  local seed = runtime.seed()
  it("is read back by our own JSON reader, seed " .. seed, function()
    local draw = runtime.generator(seed)
    for _ = 1, 2000 do
      local points = {}
      for i = 1, draw(10) do points[i] = encode(draw(5) == 1 and draw(160) - 1 or draw(0xd000) - 1) end
      local text = table.concat(points)
      local packed = assert(codec.from_json(escaped("json", text)))
      assert(codec.tokens(packed)[1].value == text, "seed " .. seed)
    end
  end)
end)
