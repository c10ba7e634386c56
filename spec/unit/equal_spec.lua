-- Equality of msgpack values.
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local C = header.load "src/codec/equal.h"
local hex = codec.hex

local function is_equal(a, b)
  return codec.with_exact(a, function(x, x_len)
    return codec.with_exact(b, function(y, y_len) return C.msgpack_is_equal(x, x_len, y, y_len) end)
  end)
end

-- { left, right, are they equal? }
for _, case in ipairs {
  { "c0", "c0", true }, { "c2", "c3", false }, { "c0", "c2", false },
  { "05", "cc 05", true }, { "05", "cb 4014000000000000", true }, { "05", "06", false }, { "00", "cb 8000000000000000", true },
  { "cb 7ff8000000000000", "cb fff8000000000001", true }, { "cb 7ff8000000000000", "00", false },
  { "cf ffffffffffffffff", "cf ffffffffffffffff", true }, { "cf ffffffffffffffff", "d3 8000000000000001", false },
  { "cf fffffffffffffffe", "cf ffffffffffffffff", false },
  { "a1 61", "c4 01 61", true }, { "a1 61", "a1 62", false }, { "a1 61", "a2 6161", false }, { "a0", "c0", false },
  { "d4 05 61", "c7 01 05 61", true }, { "d4 05 61", "d4 06 61", false },
  { "92 01 02", "dc 0002 01 02", true }, { "92 01 02", "92 02 01", false }, { "92 01 02", "91 01", false }, { "90", "80", false },
  { "82 a161 01 a162 02", "82 a162 02 a161 01", true }, { "82 a161 01 a162 02", "82 a161 01 a163 02", false },
  { "81 a161 01", "82 a161 01 a162 02", false }, { "81 a161 01", "81 a161 02", false },
  { "82 a161 82 a178 01 a179 92 01 81 a171 c0 a162 90", "82 a162 90 a161 82 a179 92 01 81 a171 c0 a178 01", true },
  { "82 a161 82 a178 01 a179 02 a162 90", "82 a161 82 a178 01 a179 03 a162 90", false },
  { "81 91 01 05", "81 91 01 06", false }, -- a key that is no scalar is found nowhere; such are not written
  { "c1", "92 01", false }, { "92 01", "92 02", false }, { "91" .. ("91"):rep(300) .. "01", "91" .. ("91"):rep(300) .. "02", false },
} do
  it(("%s and %s: %s"):format(case[1]:sub(1, 40), case[2]:sub(1, 40), case[3] and "equal" or "not"), function()
    local a, b = hex(case[1]), hex(case[2])
    assert.equal(case[3], is_equal(a, b))
    assert.equal(case[3], is_equal(b, a))
  end)
end

describe("maps of many pairs", function()
  -- In steps through the keys, so that no two steps give one order.
  local function map(count, step, changed)
    local parts = { ("\xdf\0\0%s%s"):format(string.char(math.floor(count / 256)), string.char(count % 256)) }
    for n = 0, count - 1 do
      local i = n * step % count
      parts[#parts + 1] = ("\xa5%05d\xa1%s"):format(i, i == changed and "x" or "v")
    end
    return table.concat(parts)
  end

  it("are the same in any order", function()
    assert.is_true(is_equal(map(101, 1), map(101, 7)))
    assert.is_false(is_equal(map(101, 1), map(101, 7, 50)))
    assert.is_true(is_equal("\x81\xa1a" .. map(101, 1), "\x81\xa1a" .. map(101, 7)))
  end)

  it("are compared at once: others wait for that", function()
    local began = os.clock()
    assert.is_true(is_equal(map(49999, 1), map(49999, 77)))
    assert.is_true(os.clock() - began < 2)
  end)
end)
