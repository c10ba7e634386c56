local ffi = require "ffi"
local codec = require "spec.support.codec"
local C, hex = codec.C, codec.hex

local FORMAT, LIMIT = tonumber(C.ERROR_FORMAT), tonumber(C.ERROR_LIMIT)

local function packed(text)
  local bytes, _, cause = codec.from_json(text)
  return codec.to_hex(assert(bytes, cause))
end

local function written(bytes, depth)
  local text, _, cause = codec.to_json(bytes, depth)
  return assert(text, cause)
end

-- The error of a text that must not be read.
local function fault(text, depth)
  local bytes, code, cause = codec.from_json(text, depth)
  assert.is_nil(bytes)
  return cause, code
end

-- A random JSON value: its text, and the msgpack it must become.
local function random_value(depth)
  local kind = math.random(depth > 0 and 8 or 6)
  local function space()
    return (" "):rep(math.random(0, 1))
  end
  if kind == 1 then
    return "null", "\xc0"
  elseif kind == 2 then
    return "true", "\xc3"
  elseif kind == 3 then
    local n = math.random(0, 127)
    return tostring(n), string.char(n)
  elseif kind == 4 then
    return "0.5", hex "cb 3fe0000000000000"
  elseif kind <= 6 then
    local text = ("ab\195\164"):rep(math.random(0, 30))
    return '"' .. text .. '"', codec.head("string", #text) .. text
  end
  local count = math.random(0, 3) == 0 and math.random(0, 40) or math.random(0, 4)
  local texts, bytes = {}, {}
  for i = 1, count do
    local text, packed_value = random_value(depth - 1)
    if kind == 7 then
      texts[i], bytes[i] = space() .. text .. space(), packed_value
    else
      texts[i] = ('%s"k%d"%s:%s'):format(space(), i, space(), text)
      bytes[i] = codec.head("string", #tostring(i) + 1) .. "k" .. i .. packed_value
    end
  end
  local open, close = "[", "]"
  if kind == 8 then
    open, close = "{", "}"
  end
  return open .. table.concat(texts, ",") .. close,
    codec.head(kind == 7 and "array" or "map", count) .. table.concat(bytes)
end

describe("JSON to msgpack", function()
  local rows = {
    { "null", "c0" }, { "true", "c3" }, { "false", "c2" }, { " \t\r\n1 \t\r\n", "01" },
    { "0", "00" }, { "127", "7f" }, { "128", "cc80" }, { "255", "ccff" }, { "256", "cd0100" }, { "65535", "cdffff" },
    { "65536", "ce00010000" }, { "4294967295", "ceffffffff" }, { "4294967296", "cf0000000100000000" },
    { "9223372036854775807", "cf7fffffffffffffff" }, { "9223372036854775808", "cf8000000000000000" },
    { "18446744073709551615", "cfffffffffffffffff" },
    { "-1", "ff" }, { "-32", "e0" }, { "-33", "d0df" }, { "-128", "d080" }, { "-129", "d1ff7f" },
    { "-32768", "d18000" }, { "-32769", "d2ffff7fff" },
    { "-2147483648", "d280000000" }, { "-2147483649", "d3ffffffff7fffffff" },
    { "-9223372036854775808", "d38000000000000000" },
    -- beyond 64 bits, with a fraction or an exponent, or minus zero: doubles
    { "18446744073709551616", "cb43f0000000000000" }, { "-9223372036854775809", "cbc3e0000000000000" },
    { "-0", "cb8000000000000000" }, { "-0.0", "cb8000000000000000" }, { "0.0", "cb0000000000000000" },
    { "1.5", "cb3ff8000000000000" }, { "1e2", "cb4059000000000000" }, { "1E+2", "cb4059000000000000" },
    { "0.1", "cb3fb999999999999a" }, { "5e-324", "cb0000000000000001" }, { "1e-999", "cb0000000000000000" },
    { "1.7976931348623157e308", "cb7fefffffffffffff" },
    { '""', "a0" }, { '"abc"', "a3616263" }, { '"\\"\\\\\\/\\b\\f\\n\\r\\t"', "a8225c2f080c0a0d09" },
    { '"\\u0041\\u00e4\\u20AC"', "a641c3a4e282ac" }, { '"\\ud83d\\uDE00"', "a4f09f9880" }, { '"\\u0000"', "a100" },
    { '"\\uFFFF\\u007f"', "a4efbfbf7f" }, { '"\\\\ud800"', "a65c7564383030" }, { '"\127"', "a17f" },
    { '"\244\143\191\191"', "a4f48fbfbf" },
    { "[]", "90" }, { "{}", "80" }, { "[[],{}]", "929080" }, { '{"a":[1,{"b":null}]}', "81a1619201" .. "81a162c0" },
    { '{"a":1,"a":2}', "82a16101a16102" }, -- both are kept
    { '{"":{"":[]}}', "81a081a090" },
  }
  for _, row in ipairs(rows) do
    it("reads " .. row[1], function()
      assert.equal(row[2], packed(row[1]))
    end)
  end

  it("gives each string the shortest header", function()
    for _, len in ipairs { 0, 31, 32, 255, 256, 65535, 65536 } do
      local text = ("z"):rep(len)
      assert.equal(codec.head("string", len) .. text, codec.from_json('"' .. text .. '"'))
      assert.equal("\x81" .. codec.head("string", len) .. text .. "\x01", codec.from_json('{"' .. text .. '":1}'))
    end
  end)

  it("gives each container the shortest header", function()
    for _, count in ipairs { 0, 1, 15, 16, 17, 255, 256, 65535, 65536, 70000 } do
      local ones = ("1,"):rep(count):sub(1, -2)
      assert.equal(codec.head("array", count) .. ("\x01"):rep(count), codec.from_json("[" .. ones .. "]"))
      local members = ('"k":1,'):rep(count):sub(1, -2)
      assert.equal(codec.head("map", count) .. ("\xa1k\x01"):rep(count), codec.from_json("{" .. members .. "}"))
    end
  end)

  it("moves bodies to where wide headers leave them, however they nest", function()
    local wide, wide_bytes = "[" .. ("7,"):rep(15) .. "7]", codec.head("array", 16) .. ("\x07"):rep(16)
    local text = ('[[%s,[%s]],%s,{"m":%s},[]]'):format(wide, wide, wide, wide)
    assert.equal("\x94\x92" .. wide_bytes .. "\x91" .. wide_bytes .. wide_bytes .. "\x81\xa1m" .. wide_bytes .. "\x90",
      codec.from_json(text))
    local widest = "[" .. (wide .. ","):rep(65535) .. wide .. "]"
    assert.equal(codec.head("array", 65536) .. wide_bytes:rep(65536), codec.from_json(widest))
  end)

  it("agrees with a second encoder on random documents", function()
    local seed = codec.seed()
    for _ = 1, 2000 do
      local text, bytes = random_value(5)
      assert.equal(codec.to_hex(bytes), packed(text), seed)
    end
  end)

  it("reads the same value back from every 64-bit integer near a power of two", function()
    local function check(n)
      local text = tostring(n):gsub("U?LL$", "")
      assert.equal(text, written(codec.from_json(text)))
    end
    local up, down = 1ULL, -1LL
    for _ = 0, 63 do
      for delta = -1, 1 do
        check(up + delta)
        check(down + delta)
      end
      up, down = up * 2, down * 2
    end
    assert.equal("-9223372036854775808", written(codec.from_json("-9223372036854775808")))
  end)
end)

describe("JSON faults", function()
  local rows = {
    { "", "at byte 0: the text ends too early" },
    { " \n", "at byte 2: the text ends too early" },
    { "[", "at byte 1: the text ends too early" },
    { '{"a":', "at byte 5: the text ends too early" },
    { '{"a":1', "at byte 6: the text ends too early" },
    { '"abc', "at byte 4: the text ends too early" },
    { "[1,,2]", "at byte 3: unallowed token at this point in JSON text" },
    { "[1,]", "at byte 3: unallowed token at this point in JSON text" },
    { "[1 ,  , 2]", "at byte 6: unallowed token at this point in JSON text" },
    { "[1 2]", "at byte 3: after array element, I expect ',' or ']'" },
    { '[1 "a,b"]', "at byte 3: after array element, I expect ',' or ']'" },
    { "[1}", "at byte 2: after array element, I expect ',' or ']'" },
    { '{"a" 1}', "at byte 5: object key and value must be separated by a colon (':')" },
    { '{"a":1 "b":2}', "at byte 7: after key and value, inside map, I expect ',' or '}'" },
    { "{1:2}", "at byte 1: invalid object key (must be a string)" },
    { '{"a":1,}', "at byte 7: invalid object key (must be a string)" },
    { "tru", "at byte 3: invalid string in json text" },
    { "nul]", "at byte 3: invalid string in json text" },
    { "1 2", "at byte 2: trailing garbage" },
    { "{} x", "at byte 3: trailing garbage" },
    { "01", "at byte 1: trailing garbage" },
    { '{} "x', "at byte 3: trailing garbage" }, -- a string that does not end
    { '1"', "at byte 1: trailing garbage" },
    { "+1", "at byte 0: invalid char in json text" },
    { "[.5]", "at byte 1: invalid char in json text" },
    { "NaN", "at byte 0: invalid char in json text" },
    { "1.", "at byte 2: malformed number, a digit is required after the decimal point" },
    { "[1.e5]", "at byte 3: malformed number, a digit is required after the decimal point" },
    { "[1e]", "at byte 3: malformed number, a digit is required after the exponent" },
    { "-", "at byte 1: malformed number, a digit is required after the minus sign" },
    { "1 // one", "at byte 2: trailing garbage" },
    { "/* one */ 1", "at byte 0: probable comment found in input text, comments are not enabled" },
    { [["\x41"]], [[at byte 2: inside a string, '\' occurs before a character which it may not]] },
    { [["\u12g4"]], [[at byte 5: invalid (non-hex) character occurs after '\u' inside string]] },
    { '"a\tb"', "at byte 2: invalid character inside string" },
    { '"a\1b"', "at byte 2: a control character" },
    { "\v1", "at byte 0: a control character" },
    { "[1,\0]", "at byte 3: a NUL byte" },
    { '"\0"', "at byte 1: a NUL byte" },
    { "1\0", "at byte 1: a NUL byte" },
    { [["\ud800"]], "at byte 1: half of a surrogate pair" },
    { [["ab\udc00"]], "at byte 3: half of a surrogate pair" },
    { [["\ud83d\u0041"]], "at byte 1: half of a surrogate pair" },
    { [["\ud83dx\ude00"]], "at byte 1: half of a surrogate pair" },
    { [["\ud83d\ud83d\ude00"]], "at byte 1: half of a surrogate pair" },
    { '"\xff"', "at byte 1: invalid UTF-8" },
    { '"\xc0\x80"', "at byte 1: invalid UTF-8" }, -- overlong
    { '"\xed\xa0\x80"', "at byte 1: invalid UTF-8" }, -- a surrogate
    { '"\xf4\x90\x80\x80"', "at byte 1: invalid UTF-8" }, -- beyond U+10FFFF
    { '"\xe2\x82"', "at byte 1: invalid UTF-8" },
    { '{"\xff":1}', "at byte 2: invalid UTF-8" },
    { '[1 2,"\xff"]', "at byte 3: after array element, I expect ',' or ']'" }, -- the first of two
    { "1e999", "at byte 0: a number beyond the range of a double" },
    { '{"a": -1e999 }', "at byte 6: a number beyond the range of a double" },
    { "[2," .. ("9"):rep(400) .. "]", "at byte 3: a number beyond the range of a double" },
  }
  for _, row in ipairs(rows) do
    it(("of %q are told: %s"):format(row[1]:sub(1, 40), row[2]), function()
      local cause, code = fault(row[1])
      assert.equal(row[2], cause)
      assert.equal(FORMAT, code)
    end)
  end

  it("are found in every prefix of a document", function()
    local text = [[ {"a":[1,-2.5e3,true,false,null,"x\n\ud83d\ude00ä"],"b":{"c":{}}, "d" : "" }]]
    assert.is_truthy(codec.from_json(text))
    for len = 0, #text - 1 do
      local cause, code = fault(text:sub(1, len))
      assert.equal(FORMAT, code)
      local at = tonumber(cause:match("^at byte (%d+): "))
      assert.is_true(at ~= nil and at <= len, cause)
      assert.is_nil(cause:match("\n"))
    end
  end)

  it("are no crash, and success is whole msgpack, whatever bytes are damaged", function()
    local seed = codec.seed()
    local text = [[{"a":[1,-2.5e3,true,null,"x\n\u00e4\ud83d\ude00ä"],"b":{"c":{}},"d":1e400,"e":"\\"}]]
    for _ = 1, 5000 do
      local at = math.random(#text)
      local damaged = text:sub(1, at - 1) .. string.char(math.random(0, 255)) .. text:sub(at + 1)
      local bytes, _, cause = codec.from_json(damaged)
      if bytes then
        assert.is_truthy(codec.tokens(bytes), seed)
      else
        assert.is_truthy(cause:match("^at byte %d+: "), seed)
      end
    end
  end)

  it("name the depth that is too much, a scalar being 0", function()
    assert.is_truthy(codec.from_json("1", 0))
    assert.equal("at byte 0: nested deeper than 0", (fault("[]", 0)))
    assert.is_truthy(codec.from_json('[{"a":[]}]', 3))
    local cause, code = fault('[1, {"a": [2]}]', 2)
    assert.equal("at byte 10: nested deeper than 2", cause)
    assert.equal(LIMIT, code)
  end)

  it("of a million brackets cost no stack", function()
    local open, close = ("["):rep(1000000), ("]"):rep(1000000)
    assert.equal("at byte 32: nested deeper than 32", (fault(open)))
    assert.equal("at byte 1000000: the text ends too early", (fault(open, 2000000)))
    local bytes = assert(codec.from_json(open .. close, 1000000))
    assert.is_true(bytes == ("\x91"):rep(999999) .. "\x90")
    assert.is_true(open .. close == codec.to_json(bytes, 1000000))
    assert.equal("at byte 2: nested deeper than 2", select(3, codec.to_json(bytes, 2)))
  end)

  it("of numbers with a million digits are none when a double holds them", function()
    assert.equal("cb3ff0000000000000", packed("1." .. ("0"):rep(1000000)))
    assert.equal("at byte 0: a number beyond the range of a double", (fault(("1"):rep(1000000))))
  end)
end)

describe("msgpack to JSON", function()
  local rows = {
    { "c0", "null" }, { "c2", "false" }, { "c3", "true" },
    { "00", "0" }, { "ff", "-1" }, { "cf ffffffffffffffff", "18446744073709551615" },
    { "d3 8000000000000000", "-9223372036854775808" }, { "cf 0020000000000001", "9007199254740993" },
    { "cb 0000000000000000", "0" }, { "cb 8000000000000000", "-0" }, { "cb 4014000000000000", "5" },
    { "cb 4340000000000000", "9007199254740992" }, { "cb c340000000000000", "-9007199254740992" },
    { "cb 4340000000000001", "9007199254740994.0" }, { "cb 3fb999999999999a", "0.1" },
    { "cb 3fd3333333333334", "0.30000000000000004" }, { "cb 3ff8000000000000", "1.5" },
    { "cb 43e0000000000000", "9.223372036854776e+18" }, { "cb c340624dd2f1a9fc", "-9223372036854776.0" },
    { "cb 7e37e43c8800759c", "1e+300" }, { "cb 7fefffffffffffff", "1.7976931348623157e+308" }, { "ca 3f800000", "1" },
    { "cb 7ff8000000000000", "null" }, { "cb 7ff0000000000000", "null" }, { "cb fff0000000000000", "null" },
    { "a0", '""' }, { "a3 616263", '"abc"' }, { "c4 03 616263", '"abc"' },
    { "a9 22 5c 2f 08 0c 0a 0d 09 01", [["\"\\/\b\f\n\r\t\u0001"]] }, { "a3 001f7f", '"\\u0000\\u001f\127"' },
    { "a3 e280a8", '"\226\128\168"' }, { "a2 c3a4", '"ä"' },
    { "a5 61ff62fe63", '"a\239\191\189b\239\191\189c"' }, { "a3 e28241", '"\239\191\189\239\191\189A"' },
    { "c4 02 c080", '"\239\191\189\239\191\189"' }, { "a3 eda080", '"' .. ("\239\191\189"):rep(3) .. '"' },
    { "90", "[]" }, { "80", "{}" }, { "93 01 90 80", "[1,[],{}]" }, { "92 91 91 01 02", "[[[1]],2]" },
    { "82 a161 01 a162 82 a163 c0 a164 90", '{"a":1,"b":{"c":null,"d":[]}}' },
    { "82 a161 01 a161 02", '{"a":1,"a":2}' },
    { "d4 05 0a", '{"ext":5,"data":"0a"}' }, { "c7 00 80", '{"ext":-128,"data":""}' },
    { "d6 ff 5f5e1000", '{"ext":-1,"data":"5f5e1000"}' },
    -- keys that are no strings
    { "86 01 01 c3 02 c0 03 cb3ff8000000000000 04 ff 05 c402ff41 06",
      '{"1":1,"true":2,"null":3,"1.5":4,"-1":5,"\239\191\189A":6}' },
    { "81 cf ffffffffffffffff 01", '{"18446744073709551615":1}' },
    { "81 d4 01 ff 01", [[{"{\"ext\":1,\"data\":\"ff\"}":1}]] },
    { "83 90 01 80 02 92 a161 02 03", [[{"[]":1,"{}":2,"[\"a\",2]":3}]] },
    { "81 81 a161 91 01 91 a162", [[{"{\"a\":[1]}":["b"]}]] },
    { "81 81 91 01 02 03", [[{"{\"[1]\":2}":3}]] },
    { "81 81 91 a161 02 03", [[{"{\"[\\\"a\\\"]\":2}":3}]] },
  }
  for _, row in ipairs(rows) do
    it("writes " .. row[1], function()
      assert.equal(row[2], written(hex(row[1])))
    end)
  end

  it("writes doubles in a short form that reads back equal", function()
    local seed = codec.seed()
    for _ = 1, 20000 do
      local bytes = { "\xcb" }
      for i = 2, 9 do
        bytes[i] = string.char(math.random(0, 255))
      end
      bytes = table.concat(bytes)
      local number, text = codec.tokens(bytes)[1].value, written(bytes)
      assert.equal(number == number and math.abs(number) < math.huge and number or nil, tonumber(text), seed)
      assert.is_true(#text <= 24, seed)
    end
    local cell = ffi.new("double[1]")
    for cents = 0, 2000 do
      cell[0] = cents / 100
      assert.equal((("%.2f"):format(cents / 100):gsub("0$", ""):gsub("%.0$", "")),
        written("\xcb" .. ffi.string(cell, 8):reverse()))
    end
  end)

  it("and back is the same text", function()
    local seed = codec.seed()
    for _ = 1, 1000 do
      local text = random_value(5)
      local once = written(codec.from_json(text))
      assert.equal(once, written(codec.from_json(once)), seed)
      assert.equal((text:gsub(" ", "")), once, seed)
    end
  end)

  it("bounds keys inside of keys, whose quoting doubles at each step", function()
    local function nested(levels)
      return ("\x81"):rep(levels) .. "\x01" .. ("\x02"):rep(levels)
    end
    assert.is_truthy(codec.to_json(nested(5)))
    local text, code, cause = codec.to_json(nested(6))
    assert.is_nil(text)
    assert.equal(LIMIT, code)
    assert.equal("map keys nested deeper than 4", cause)
    -- many beside each other are fine
    assert.is_truthy(codec.to_json("\x8f" .. ("\x81\x91\x01\x02\x03"):rep(15)))
  end)

  it("refuses what is not one whole value", function()
    for _, row in ipairs {
      { "", "at byte 0: the bytes end where a value is due" },
      { "92 01", "at byte 0: array of 2 elements, 1 is left" },
      { "01 02", "at byte 1: 1 byte behind the value" },
      { "c1", "at byte 0: 0xc1 begins no msgpack value" },
    } do
      local text, code, cause = codec.to_json(hex(row[1]))
      assert.is_nil(text)
      assert.equal(FORMAT, code)
      assert.equal(row[2], cause)
    end
  end)
end)
