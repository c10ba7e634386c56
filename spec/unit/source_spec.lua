local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/stream/source.h")

local MAX = "18446744073709551615"

local function id(ms, seq)
  return ffi.new("struct stream_id", ms, seq)
end

local function format(value)
  local text = ffi.new("char[48]")
  ffi.fill(text, 48, 0x78)
  C.stream_id_format(value, text)
  return ffi.string(text)
end

-- As it is written again, or nil; what was in the result stays when there is none.
local function parse(text)
  local value = id(7, 8)
  return (codec.with_exact(text, function(copy, len)
    if C.stream_id_parse(copy, len, value) then return format(value) end
    assert(value.ms == 7 and value.seq == 8, "a failure has touched the result")
    return nil
  end))
end

describe("an entry's ID", function()
  it("is two numbers, or the first of them", function()
    for text, want in pairs {
      ["0-0"] = "0-0", ["0"] = "0-0", ["1-2"] = "1-2", ["1795359845123-0"] = "1795359845123-0", ["5"] = "5-0",
      ["007-0001"] = "7-1", ["9007199254740993-9007199254740993"] = "9007199254740993-9007199254740993",
      [MAX] = MAX .. "-0", ["0-" .. MAX] = "0-" .. MAX, [MAX .. "-" .. MAX] = MAX .. "-" .. MAX,
      ["000000000000000000000000000000" .. MAX .. "-1"] = MAX .. "-1",
      ["18446744073709551614-18446744073709551609"] = "18446744073709551614-18446744073709551609",
    } do
      assert.equal(want, parse(text), text)
    end
  end)

  it("is none over 64 bits", function()
    for _, number in ipairs { "18446744073709551616", "18446744073709551620", "28446744073709551615", "99999999999999999999",
      "184467440737095516150", ("9"):rep(100) } do
      for _, text in ipairs { number, number .. "-0", "0-" .. number, number .. "-" .. number } do
        assert.is_nil(parse(text), text)
      end
    end
  end)

  it("is none when anything else is in it", function()
    for _, text in ipairs { "", "-", "--", "1-", "-1", "1--1", "1-2-", "1-2-3", " 1-2", "1-2 ", "1 -2", "+1-2", "1-+2", "1-*", "*", "$",
      ">", "+", "1.5-0", "1e3-0", "0x10-0", "1-2\n", "1-2\0", "\0", "1\0", "1\0002", "abc", "1-a", "a-1", "١-٢", "1_000-0" } do
      assert.is_nil(parse(text), text)
    end
    -- One byte of a good one replaced by each other byte.
    for at = 1, 3 do
      for byte = 0, 255 do
        local text = ("1-2"):sub(1, at - 1) .. string.char(byte) .. ("1-2"):sub(at + 1)
        local is_good = text:match("^%d%-%d$") or text:match("^%d%d%d$")
        assert.equal(is_good and true or false, parse(text) ~= nil, text)
      end
    end
  end)

  it("is written within its room, NUL included", function()
    assert.is_true(#MAX * 2 + 2 <= C.STREAM_ID_TEXT)
    assert.equal(MAX .. "-" .. MAX, format(id(-1ULL, -1ULL)))
    assert.equal("0-0", format(id(0, 0)))
    assert.equal("10-100", format(id(10, 100)))
  end)

  local seed = runtime.seed()
  it("comes back as it was, and is ordered by ms, then by seq, seed " .. seed, function()
    local draw = runtime.generator(seed)
    local function number()
      local n = 0ULL
      for _ = 1, draw(8) do n = n * 256 + (draw(4) == 1 and 255 or draw(256) - 1) end
      return n
    end
    for _ = 1, 3000 do
      local a, b = id(number(), number()), id(number(), number())
      if draw(3) == 1 then b.ms = a.ms end
      if draw(3) == 1 then b.seq = a.seq end
      assert.equal(format(a), parse(format(a)), "seed " .. seed)
      assert.equal(tostring(a.ms):gsub("ULL", "") .. "-" .. tostring(a.seq):gsub("ULL", ""), format(a))
      local want = a.ms < b.ms and -1 or a.ms > b.ms and 1 or a.seq < b.seq and -1 or a.seq > b.seq and 1 or 0
      assert.equal(want, C.stream_id_compare(a, b), "seed " .. seed)
      assert.equal(-want, C.stream_id_compare(b, a), "seed " .. seed)
      assert.equal(0, C.stream_id_compare(a, a))
    end
  end)

  it("is compared without a sign", function()
    assert.equal(-1, C.stream_id_compare(id(0, 0), id(-1ULL, 0)))
    assert.equal(1, C.stream_id_compare(id(0, -1ULL), id(0, 1)))
    assert.equal(1, C.stream_id_compare(id(2ULL ^ 63, 0), id(2ULL ^ 63 - 1, -1ULL)))
  end)
end)

describe("a source", function()
  it("has a name of its own, any bytes, and knows nothing yet", function()
    local name = "orders:\0{eu}"
    local s = codec.with_exact(name, function(copy, len) return C.source_create(copy, len, 12) end)
    assert.equal(name .. "\0", ffi.string(s.name, s.name_len + 1))
    assert.same({ 12, -1, -1, 0 }, { s.number, tonumber(s.read), tonumber(s.added), tonumber(s.lost) })
    assert.is_false(s.is_known or s.has_group or s.is_left_out or s.is_later)
    assert.equal("0-0", format(s.committed))
    C.source_destroy(s)
    C.source_destroy(nil)
  end)
end)
