-- src/rules/pack.c against the same in Lua (tidemill.pack), byte for byte, and both against bytes written by hand.
local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local pack = require "tidemill.pack"
local C = header.load("src/base/buf.h")
local big, hex, to_hex = codec.big, codec.hex, codec.to_hex
-- pack.c has no header: its two functions are declared in pack.lua.

-- What C writes, and nothing else: the bytes behind it stay.
local function number(v)
  local room = ffi.new("uint8_t[16]")
  ffi.fill(room, 16, 0x5a)
  local len = C.pack_number(room, v)
  assert(len >= 1 and len <= 9)
  assert(ffi.string(room + len, 16 - len) == ("\x5a"):rep(16 - len), "wrote behind its end")
  return ffi.string(room, len)
end

local function text(s)
  return codec.with_exact(s, function(copy, len)
    local room = ffi.new("uint8_t[?]", len + 9)
    ffi.fill(room, len + 9, 0x5a)
    local wrote = C.pack_string(room, copy, len)
    assert(ffi.string(room + wrote, len + 9 - wrote) == ("\x5a"):rep(len + 9 - wrote), "wrote behind its end")
    return ffi.string(room, wrote)
  end)
end

local function same(v)
  local in_c, in_lua = number(v), pack.string(v)
  if in_c ~= in_lua then
    error(("%.17g is %s in C, %s in Lua"):format(v, to_hex(in_c), to_hex(in_lua)), 2)
  end
  return in_c
end

-- A packed number, read by the codec.
local function read(bytes)
  local list = assert(codec.tokens(bytes))
  assert(#list == 1)
  return list[1].type == "n" and list[1].value or list[1].type
end

describe("the fallback in Lua", function()
  it("is what these specs compare with", function()
    -- The library is not in the global namespace: were it, both would be the same function.
    assert.is_false((pcall(function() return ffi.C.pack_number end)))
  end)
end)

describe("a packed number", function()
  it("has the shortest form of a whole one, at every boundary", function()
    for _, case in ipairs {
      { 0, "00" }, { 1, "01" }, { 127, "7f" }, { 128, "cc80" }, { 255, "ccff" }, { 256, "cd0100" }, { 65535, "cdffff" },
      { 65536, "ce00010000" }, { 2 ^ 31 - 1, "ce7fffffff" }, { 2 ^ 31, "ce80000000" }, { 2 ^ 32 - 1, "ceffffffff" },
      { 2 ^ 32, "cf0000000100000000" }, { 2 ^ 53 - 1, "cf001fffffffffffff" }, { 2 ^ 53, "cf0020000000000000" },
      { -1, "ff" }, { -32, "e0" }, { -33, "d3ffffffffffffffdf" }, { -128, "d3ffffffffffffff80" }, { -129, "d3ffffffffffffff7f" },
      { -32768, "d3ffffffffffff8000" }, { -2 ^ 31, "d3ffffffff80000000" }, { -2 ^ 31 - 1, "d3ffffffff7fffffff" },
      { -2 ^ 32, "d3ffffffff00000000" }, { -2 ^ 32 - 1, "d3fffffffeffffffff" }, { -2 ^ 53 + 1, "d3ffe0000000000001" },
      { -2 ^ 53, "d3ffe0000000000000" },
    } do
      assert.equal(case[2], to_hex(same(case[1])), ("%.17g"):format(case[1]))
      assert.equal(case[1], read(number(case[1])))
    end
  end)

  it("is a double when it is not whole, or beyond 2^53", function()
    for _, case in ipairs {
      { 0.5, "cb3fe0000000000000" }, { -0.5, "cbbfe0000000000000" }, { 0.1, "cb3fb999999999999a" },
      { 2 ^ 53 + 2, "cb4340000000000001" }, { -2 ^ 53 - 2, "cbc340000000000001" }, { 2 ^ 63, "cb43e0000000000000" },
      { -2 ^ 63, "cbc3e0000000000000" }, { 2 ^ 64, "cb43f0000000000000" }, { 1e308, nil }, { -1e308, nil },
      { 2 ^ -1074, "cb0000000000000001" }, { -2 ^ -1074, "cb8000000000000001" }, { 2 ^ -1022, "cb0010000000000000" },
      { math.huge, "cb7ff0000000000000" }, { -math.huge, "cbfff0000000000000" }, { 4294967295.5, nil }, { -32.5, nil },
      { 127.5, nil }, { 1 - 2 ^ -53, nil }, { 2 ^ 51 + 0.5, nil },
    } do
      local bytes = same(case[1])
      assert.equal("\xcb", bytes:sub(1, 1))
      assert.equal(case[2] or to_hex(bytes), to_hex(bytes))
      assert.equal(case[1], read(bytes))
    end
  end)

  it("is 0 for -0, and keeps the bits of every nan", function()
    assert.equal("00", to_hex(same(0)))
    local zero = 0
    assert.equal("00", to_hex(same(-1 / math.huge)))
    assert.equal("00", to_hex(same(zero * -1)))
    local view = ffi.new("union { double number; uint64_t bits; }")
    for _, bits in ipairs { 0x7ff8000000000000ULL, 0xfff8000000000000ULL, 0x7ff8000000000001ULL, 0x7fffffffffffffffULL } do
      view.bits = bits
      local wrote = number(view.number)
      assert.equal(9, #wrote)
      assert.equal("cb" .. ("%016x"):format(bits), to_hex(wrote))
      local nan = read(wrote)
      assert.is_true(nan ~= nan)
    end
    assert.equal(to_hex(number(0 / 0)), to_hex(pack.string(0 / 0)))
  end)

  it("is the same in C and in Lua around every power of two", function()
    for exponent = -1074, 1023 do
      local power = 2 ^ exponent
      for _, step in ipairs { 0, 1, -1, 0.5, -0.5, 2, -2, power * 2 ^ -52, -power * 2 ^ -53 } do
        for _, v in ipairs { power + step, -(power + step) } do
          local got = read(same(v))
          assert(got == v, ("%.17g came back as %.17g"):format(v, got))
        end
      end
    end
    for v = -70000, 70000, 7 do same(v) end
    for v = -300, 300 do same(v) end
  end)

  local seed = runtime.seed()
  it("is the same in C and in Lua for any bits, seed " .. seed, function()
    local draw, view = runtime.generator(seed), ffi.new("union { double number; uint64_t bits; uint8_t bytes[8]; }")
    for _ = 1, 50000 do
      for i = 0, 7 do view.bytes[i] = draw(256) - 1 end
      -- A nan of any bits may not even be looked at: LuaJIT would take it for a pointer.
      if view.bytes[7] % 128 ~= 127 or view.bytes[6] < 240 then
        local v = view.number
        assert(read(same(v)) == v or v == 0, "seed " .. seed)
      end
      same(math.floor((draw() - 0.5) * 2 ^ draw(60)))
    end
  end)
end)

describe("a packed string", function()
  it("has the shortest head at every boundary, and all its bytes", function()
    for _, len in ipairs { 0, 1, 30, 31, 32, 33, 127, 128, 254, 255, 256, 257, 65534, 65535, 65536, 65537, 1000000 } do
      local bytes = {}
      for i = 1, len do bytes[i] = string.char(i % 256) end
      local s = table.concat(bytes)
      local head = len < 32 and string.char(0xa0 + len) or len < 256 and "\xd9" .. big(len, 1)
        or len < 65536 and "\xda" .. big(len, 2) or "\xdb" .. big(len, 4)
      assert.is_true(text(s) == head .. s, len .. " bytes in C")
      assert.is_true(pack.string(s) == head .. s, len .. " bytes in Lua")
    end
  end)

  it("is the same in C and in Lua at every length up to 300", function()
    for len = 0, 300 do
      local s = ("\0\xff"):rep(150):sub(1, len)
      assert.equal(pack.string(s), text(s))
    end
    assert.equal(hex "a0", text "")
  end)
end)
