local runtime = require "spec.support.runtime"
local value = require "tidemill.value"
local ffi = require "ffi"

local int64, null, array, ext = value.int64, value.null, value.array, value.ext

describe("int64", function()
  it("keeps every digit", function()
    for _, text in ipairs {
      "0", "1", "-1", "9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808",
      "9223372036854775808", "18446744073709551615",
    } do
      assert.equal(text, tostring(int64(text)))
      assert.equal("<" .. text .. ">", "<" .. int64(text) .. ">")
    end
    assert.equal("7", tostring(int64 "007"))
    assert.equal("12", tostring(int64(12)))
    assert.equal("9223372036854775808", tostring(int64(2 ^ 63)))
    assert.equal("-9223372036854775808", tostring(int64(-2 ^ 63)))
    local one = int64 "5"
    assert.equal(one, int64(one))
  end)

  it("refuses what is no integer of 64 bits", function()
    for _, bad in ipairs { "", "-", "1.5", "1e3", "0x10", "18446744073709551616", "-9223372036854775809", " 1", "1 ",
      1.5, 2 ^ 64, -2 ^ 63 - 2048, 0 / 0, math.huge, {}, true, "99999999999999999999" } do
      assert.has_error(function() int64(bad) end)
    end
    assert.has_error(function() int64(nil) end)
  end)

  it("is ordered with its like and with numbers", function()
    local order = { int64 "-9223372036854775808", -2 ^ 60, int64 "-9007199254740993", -9007199254740992, -1.5, int64 "-1", -0.5,
      int64 "0", 0.5, 1, int64 "2", 2.5, 9007199254740992, int64 "9007199254740993", 2 ^ 62, int64 "9223372036854775807",
      int64 "9223372036854775808", int64 "18446744073709551615", 2 ^ 64, math.huge }
    for i, a in ipairs(order) do
      for k, b in ipairs(order) do
        if value.is_int64(a) or value.is_int64(b) then
          local what = tostring(a) .. " " .. tostring(b)
          assert.equal(i < k, a < b, what)
          assert.equal(i <= k, a <= b, what)
          assert.equal(i == k, a == b, what)
          assert.equal(i > k, a > b, what)
        end
      end
    end
    assert.is_true(int64 "12" == 12)
    assert.is_false(int64 "12" == 12.5)
    assert.is_true(int64 "18446744073709551615" == int64 "18446744073709551615")
  end)

  it("equals nothing of another kind, and cannot be compared with it", function()
    local a = int64 "12"
    for _, other in ipairs { "12", {}, true, null, print, 5LL } do
      assert.is_false(a == other)
      assert.is_false(other == a)
      assert.has_error(function() return a < other end)
      assert.has_error(function() return other <= a end)
    end
    assert.is_false(a == nil)
    assert.is_false(a == 0 / 0)
    assert.has_error(function() return a < 0 / 0 end)
    assert.has_error(function() return a < nil end)
  end)

  it("cannot be changed", function()
    local a = int64 "12"
    assert.has_error(function() a.value = 3LL end)
    assert.has_error(function() a.is_unsigned = true end)
    assert.has_error(function() a.x = 3 end)
    assert.equal("ffi", getmetatable(a))
    assert.equal("12", tostring(a))
  end)

  it("is told from other things", function()
    assert.is_true(value.is_int64(int64 "1"))
    for _, other in ipairs { 1, "1", {}, null, 1LL, 1ULL, ffi.new "int[1]" } do assert.is_false(value.is_int64(other)) end
    assert.is_false(value.is_int64(nil))
  end)
end)

describe("null", function()
  it("equals itself only", function()
    assert.is_true(null == value.null)
    for _, other in ipairs { 0, "null", {}, false, int64 "0", 0LL } do
      assert.is_false(null == other)
      assert.is_false(other == null)
    end
    assert.is_false(null == nil)
    assert.is_true(value.is_null(null))
    assert.is_false(value.is_null(nil))
    assert.is_false(value.is_null(false))
    assert.equal("null", tostring(null))
    assert.has_error(function() null.is_null = false end)
  end)
end)

describe("array and ext", function()
  it("are marked out of reach", function()
    local list = array { 1, 2 }
    assert.equal("array", getmetatable(list))
    assert.same({ 1, 2 }, list)
    assert.same({}, array())
    assert.equal(list, array(list)) -- marking twice is no error
    assert.has_error(function() setmetatable(list, {}) end)
    assert.has_error(function() array "text" end)
    assert.has_error(function() array(setmetatable({}, { __metatable = "ctx" })) end)
    local e = ext(-1, "abcd")
    assert.equal("ext", getmetatable(e))
    assert.same({ type = -1, bytes = "abcd" }, e)
  end)
end)

describe("key_text", function()
  it("writes numbers in decimal", function()
    for _, case in ipairs {
      { 0, "0" }, { -0.0, "0" }, { 7, "7" }, { -7, "-7" }, { 1.5, "1.5" }, { 0.1, "0.1" }, { 1e15, "1000000000000000" },
      { 2 ^ 53, "9007199254740992" }, { -2 ^ 53, "-9007199254740992" }, { 1e20, "100000000000000000000" }, { 1 / 3, "0.3333333333333333" },
      { 123456789.125, "123456789.125" }, { "7", "7" }, { "", "" }, { int64 "9007199254740993", "9007199254740993" },
      { int64 "18446744073709551615", "18446744073709551615" }, { 2 ^ 31, "2147483648" }, { 1e-7, "1e-07" },
    } do
      assert.equal(case[2], value.key_text(case[1]))
    end
  end)

  it("gives different numbers different texts", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    for _ = 1, 2000 do
      local n = (draw() - 0.5) * 10 ^ (draw(40) - 20)
      assert.equal(n, tonumber(value.key_text(n)), "seed " .. seed)
    end
  end)

  it("is nil for what cannot be a key", function()
    for _, bad in ipairs { true, false, {}, print, null, math.huge, -math.huge, 0 / 0, 5LL } do
      assert.is_nil(value.key_text(bad))
    end
    assert.is_nil(value.key_text(nil))
  end)
end)
