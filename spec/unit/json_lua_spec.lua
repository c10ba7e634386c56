-- json.lua, the test kit's JSON, beside the engine's own codec: what the one makes of a text, the other makes.
local runtime = require "spec.support.runtime"
local codec = require "spec.support.codec"
local json = require "tidemill.json"
local pack = require "tidemill.pack"
local value = require "tidemill.value"

-- The same bytes, or the same refusal.
local function agree(text, depth)
  local theirs, _, their_cause = codec.from_json(text, depth or 200)
  local ours, cause = json.to_msgpack(text, depth)
  assert.equal(theirs and codec.to_hex(theirs), ours and codec.to_hex(ours), text)
  assert.equal(their_cause, cause, text)
end

local GOOD = {
  "null", "true", "false", " \t\r\n1 \t\r\n", "0", "127", "128", "255", "256", "65535", "65536", "4294967295", "4294967296",
  "9007199254740991", "9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808",
  "18446744073709551615", "18446744073709551616", "-1", "-32", "-33", "-128", "-129", "-32768", "-32769", "-2147483648",
  "-2147483649", "-9007199254740993", "-9223372036854775808", "-9223372036854775809", "-0", "-0.0", "0.0", "1.5", "1e2", "1E+2",
  "0.1", "5e-324", "1e-999", "1.7976931348623157e308", "123456789012345", "1234567890123456", "-123456789012345", '""', '"abc"',
  '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u0041\\u00e4\\u20AC"', '"\\ud83d\\uDE00"', '"\\u0000"', '"\\uFFFF\\u007f"', '"\\\\ud800"',
  '"\127"', '"\244\143\191\191"', '"ä€😀"', "[]", "{}", "[[],{}]", '{"a":[1,{"b":null}]}', '{"a":1,"a":2}', '{"":{"":[]}}',
  ' { "a" : [ 1 , 2 ] , "b" : { } } ', "1." .. ("0"):rep(5000),
}

local BAD = {
  "", " \n", "[", '{"a":', '{"a":1', '"abc', "[1,,2]", "[1,]", "[1 ,  , 2]", "[1 2]", '[1 "a,b"]', "[1}", '{"a" 1}',
  '{"a":1 "b":2}', "{1:2}", '{"a":1,}', "tru", "nul]", "1 2", "{} x", "01", '{} "x', '1"', "+1", "[.5]", "NaN", "1.", "[1.e5]", "[1e]", "-",
  "1 // one", "/* one */ 1", [["\x41"]], [["\u12g4"]], '"a\tb"', '"a\1b"', "\v1", "[1,\0]", '"\0"', "1\0", [["\ud800"]],
  [["ab\udc00"]], [["\ud83d\u0041"]], [["\ud83dx\ude00"]], [["\ud83d\ud83d\ude00"]], '"\255"', '"\192\128"', '"\237\160\128"',
  '"\244\144\128\128"', '"\226\130"', '{"\255":1}', '[1 2,"\255"]', "1e999", '{"a": -1e999 }', "[2," .. ("9"):rep(400) .. "]",
}

-- A random document, mostly right.
local function random_text(draw, depth)
  local kind = draw(depth > 0 and 11 or 8)
  if kind == 1 then return ({ "null", "true", "false" })[draw(3)] end
  if kind == 2 then return ("%d"):format(draw(1000) - 500) end
  if kind == 3 then return (draw() < 0.5 and "-" or "") .. (("%d"):format(draw(999999999)) .. ("%d"):format(draw(2000000000))) end
  if kind == 4 then return ("%.17g"):format((draw() - 0.5) * 10 ^ (draw(40) - 20)) end
  if kind <= 8 then
    local parts = {}
    for n = 1, draw(6) - 1 do
      parts[n] = ({ "a", "ä", "€", "😀", "\\n", "\\u00e4", "\\ud83d\\ude00", " ", "\\\\", ("z"):rep(40) })[draw(10)]
    end
    return '"' .. table.concat(parts) .. '"'
  end
  local parts, is_map = {}, kind == 11
  for n = 1, draw(5) == 1 and draw(40) or draw(4) - 1 do
    parts[n] = (is_map and ('"k%d" :'):format(draw(20)) or "") .. random_text(draw, depth - 1)
  end
  local text = table.concat(parts, draw(2) == 1 and "," or " , ")
  return is_map and "{" .. text .. "}" or "[" .. text .. "]"
end

describe("json.to_msgpack", function()
  for _, text in ipairs(GOOD) do
    it(("reads %q as the engine does"):format(text:sub(1, 40)), function()
      assert.is_string(json.to_msgpack(text))
      agree(text)
    end)
  end

  for _, text in ipairs(BAD) do
    it(("refuses %q as the engine does, with the same words"):format(text:sub(1, 40)), function()
      assert.is_nil((json.to_msgpack(text)))
      agree(text)
    end)
  end

  it("gives strings and containers the shortest heads", function()
    for _, n in ipairs { 0, 15, 16, 31, 32, 255, 256, 65535, 65536 } do
      agree('"' .. ("z"):rep(n) .. '"')
      agree("[" .. ("1,"):rep(n):sub(1, -2) .. "]")
      agree("{" .. ('"k":1,'):rep(n):sub(1, -2) .. "}")
    end
  end)

  it("counts depth as the engine does", function()
    for _, depth in ipairs { 0, 1, 2, 32 } do
      for _, text in ipairs { "1", "[]", "[[]]", '{"a":[]}', ("["):rep(32) .. ("]"):rep(32), ("["):rep(33) .. ("]"):rep(33) } do
        agree(text, depth)
      end
    end
  end)

  it("makes the same bytes of random documents", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    for _ = 1, 3000 do
      local text = random_text(draw, 4)
      local theirs = codec.from_json(text, 200)
      assert.equal(theirs and codec.to_hex(theirs), codec.to_hex(assert(json.to_msgpack(text))), "seed " .. seed)
    end
  end)

  it("takes and refuses the same damaged documents, at the same place or before", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local text = [[{"a":[1,-2.5e3,true,null,"x\n\u00e4\ud83d\ude00ä"],"b":{"c":{}},"d":1e40,"e":"\\"} ]]
    for _ = 1, 20000 do
      local at = draw(#text)
      local damaged = text:sub(1, at - 1) .. string.char(draw(256) - 1) .. text:sub(at + 1)
      if draw(4) == 1 then damaged = damaged:sub(1, draw(#damaged)) end
      local theirs = codec.from_json(damaged, 200)
      local ours, cause, place = json.to_msgpack(damaged)
      assert.equal(theirs, ours, "seed " .. seed .. " " .. damaged)
      if not ours then
        assert.equal(place - 1, tonumber(cause:match "^at byte (%d+): "))
        assert.is_true(place <= #damaged + 1)
      end
    end
  end)
end)

describe("json.decode", function()
  it("gives what a rule would see", function()
    local v = json.decode('{"n":1.5,"big":9007199254740993,"huge":18446744073709551615,"none":null,"list":[null,{"x":[]}],'
      .. '"twice":1,"twice":2}')
    assert.equal(1.5, v.n)
    assert.is_true(value.is_int64(v.big))
    assert.equal("9007199254740993", tostring(v.big))
    assert.equal("18446744073709551615", tostring(v.huge))
    assert.is_nil(v.none)
    assert.is_true(value.is_null(v.list[1]))
    assert.equal("array", getmetatable(v.list[2].x))
    assert.is_nil(getmetatable(v.list[2]))
    assert.equal(2, v.twice)
    assert.is_true(1 / json.decode "-0" < 0)
  end)

  it("keeps nulls of objects when asked", function()
    local v = json.decode('{"a":null,"b":[null,{"c":null}],"d":1}', { nulls = true })
    assert.is_true(value.is_null(v.a) and value.is_null(v.b[1]) and value.is_null(v.b[2].c))
    assert.equal(1, v.d)
    assert.equal("array", getmetatable(v.b))
    assert.is_true(value.is_null(json.decode("null", { nulls = true })))
  end)

  it("says what is wrong, and where", function()
    assert.same({ nil, "at byte 5: the text ends too early", 6 }, { json.decode '{"a":' })
    assert.same({ nil, "at byte 1: nested deeper than 1", 2 }, { json.decode("[[]]", { depth = 1 }) })
  end)
end)

describe("json.encode", function()
  local function as_engine(v) return codec.to_json(assert(pack.string(v)), 200) end

  it("writes scalars as the engine does", function()
    for _, v in ipairs { true, false, 0, 1, -1, 0.1, 1.5, 0.30000000000000004, 2 ^ 53, -2 ^ 53, 2 ^ 53 + 2, 1e300, 5e-324, 1e15,
      1 / 0, 0 / 0, -1 / 0, 9.223372036854776e18, value.int64 "9007199254740993", value.int64 "-9223372036854775808",
      value.int64 "18446744073709551615", value.null, "", "abc", '"\\/\b\f\n\r\t\1\0\127', "ä€😀", "a\255b\254", "\226\130A", "\192\128",
      "\237\160\128", value.ext(5, "\10\255") } do
      assert.equal(as_engine(v), (json.encode(v)))
    end
    assert.equal("null", (json.encode(nil)))
    assert.equal(codec.to_json "\203\128\0\0\0\0\0\0\0", (json.encode(-1 / math.huge))) -- which pack makes a 0
  end)

  it("writes containers as the engine does, members by name", function()
    for _, v in ipairs { {}, value.array(), { 1, { 2 }, {} }, { a = 1 }, { a = { b = { value.null } } }, { [1] = 1, [3] = 3 },
      { [5] = true }, { [true] = 1 }, { [1.5] = "x" } } do
      local text = json.encode(v)
      assert.same(json.decode((as_engine(v))), json.decode(text), text)
    end
    assert.equal('{"a":2,"b":1,"c":[]}', (json.encode { c = value.array(), b = 1, a = 2 }))
  end)

  it("comes back as it was", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    for _ = 1, 2000 do
      local text = json.encode(json.decode(random_text(draw, 4), { nulls = true }))
      assert.equal(text, (json.encode(json.decode(text, { nulls = true }))), "seed " .. seed)
      assert.same(json.decode((codec.to_json(codec.from_json(text, 200), 200))), json.decode(text), "seed " .. seed)
    end
  end)

  it("refuses what has no JSON", function()
    assert.same({ nil, "it holds a function" }, { json.encode { a = { print } } })
    assert.same({ nil, "it has a table as a key" }, { json.encode { [{}] = 1 } })
    local loop = {}
    loop.self = loop
    assert.matches("holds itself", select(2, json.encode(loop)))
  end)
end)
