-- Parts of msgpack documents as bytes. What Lua packs, in all the forms that heads have, is the oracle.
local ffi = require "ffi"
local header = require "spec.support.header"
local codec = require "spec.support.codec"
local C = header.load("src/codec/slice.h")
local hex = codec.hex

-- Kept, because a slice points into it.
local kept = {}

local function slice(bytes)
  kept[#kept + 1] = bytes
  local s = ffi.new "struct slice"
  s.bytes, s.len = bytes, #bytes
  return s
end

local function text(s) return ffi.string(s.bytes, s.len) end

-- One of every form of head, with bytes behind it that belong to nobody.
local FORMS = {
  "c0", "c2", "c3", "00", "7f", "e0", "ff", "cc ff", "cd ffff", "ce ffffffff", "cf ffffffffffffffff", "d0 80", "d1 8000",
  "d2 80000000", "d3 8000000000000000", "ca 3fc00000", "cb 3ff8000000000000", "a0", "a3 616263", "d9 02 6162", "da 0002 6162",
  "db 00000002 6162", "c4 02 00ff", "c5 0002 6162", "c6 00000002 6162", "d4 05 61", "d5 80 6162", "d6 ff 61626364",
  "d7 7f 6162636465666768", "d8 01 61626364656667686162636465666768", "c7 03 09 616263", "c8 0001 fe 61", "c9 00000001 00 61",
  "90", "92 01 a161", "dc 0002 01 02", "dd 00000001 91 c0", "80", "81 a161 92 01 02", "de 0001 a161 81 a162 c0",
  "df 00000001 01 02",
}

describe("slice", function()
  it("takes one value of every form, and never more than there is", function()
    for _, form in ipairs(FORMS) do
      local bytes = hex(form)
      local rest, value = slice(bytes .. "\1\2"), ffi.new "struct slice"
      assert.is_true(C.slice_next(rest, value), form)
      assert.equal(bytes, text(value), form)
      assert.equal("\1\2", text(rest), form)
      for len = 0, #bytes - 1 do
        rest = slice(bytes:sub(1, len))
        assert.is_false(C.slice_next(rest, value), form .. " cut at " .. len)
        assert.equal(len, tonumber(rest.len))
      end
    end
  end)

  it("takes what is nested without end", function()
    local bytes = ("\x91"):rep(100000) .. "\xc0"
    local rest, value = slice(bytes), ffi.new "struct slice"
    assert.is_true(C.slice_next(rest, value))
    assert.same({ #bytes, 0 }, { tonumber(value.len), tonumber(rest.len) })
  end)

  it("finds a field of a map, of either kind, and nothing elsewhere", function()
    for _, form in ipairs { "83 a161 01 a162 92 02 03 a163 c0", "de 0003 a161 01 a162 92 02 03 a163 c0" } do
      local map = slice(hex(form))
      assert.equal("\1", text(C.slice_find(map, "a")))
      assert.equal(hex "92 02 03", text(C.slice_find(map, "b")))
      assert.equal(0, tonumber(C.slice_find(map, "d").len))
      assert.equal(0, tonumber(C.slice_find(map, "").len))
    end
    assert.equal(0, tonumber(C.slice_find(slice(hex "92 a161 01"), "a").len))
    assert.equal(0, tonumber(C.slice_find(slice "", "a").len))
  end)

  it("reads texts and numbers", function()
    local function number(form) return C.slice_number(slice(hex(form)), -7) end
    for form, n in pairs { ["05"] = 5, ["cc ff"] = 255, ["cd 0100"] = 256, ["ce 00010000"] = 65536,
      ["cf 0000018bcfe56800"] = 1700000000000, ["cb 3ff8000000000000"] = 1.5, ["d3 0000000000000009"] = 9, ["d0 7f"] = 127,
      ["d0 ff"] = -7, ["ff"] = -7, ["cb bff8000000000000"] = -7, ["c0"] = -7, ["a161"] = -7 } do
      assert.equal(n, number(form), form)
    end
    assert.equal(-7, C.slice_number(slice "", -7))
    assert.equal("abc", text(C.slice_text(slice(hex "a3 616263"))))
    assert.equal("\0\xff", text(C.slice_text(slice(hex "c4 02 00ff"))))
    assert.equal(0, tonumber(C.slice_text(slice(hex "92 01 02")).len))
  end)

  it("compares bytes", function()
    assert.is_true(C.slice_is_same(slice "ab", slice "ab"))
    assert.is_false(C.slice_is_same(slice "ab", slice "ac"))
    assert.is_false(C.slice_is_same(slice "ab", slice "abc"))
    assert.is_true(C.slice_is_same(slice "", slice ""))
    assert.is_true(C.slice_is_nil(slice ""))
    assert.is_true(C.slice_is_nil(slice "\xc0"))
    assert.is_false(C.slice_is_nil(slice "\1"))
  end)
end)
