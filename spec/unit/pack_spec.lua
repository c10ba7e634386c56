require "spec.support.runtime"
local codec = require "spec.support.codec"
local pack = require "tidemill.pack"
local shape = require "tidemill.shape"
local unpack_reader = require("tidemill.unpack").reader
local value = require "tidemill.value"
local ffi = require "ffi"

local array, ext, int64, null = value.array, value.ext, value.int64, value.null

local function hex(v)
  local bytes, why = pack.string(v)
  return bytes and codec.to_hex(bytes) or why
end

local tokens = ffi.new "struct tokens"
local reader = unpack_reader(tokens)
local function back(v)
  local bytes = assert(pack.string(v))
  assert(reader:read(bytes, 128, 2 ^ 24))
  return (shape.build(tokens.list, 0))
end

describe("pack", function()
  it("writes every kind of value in its short form", function()
    for _, case in ipairs {
      { 0, "00" }, { -0.0, "00" }, { 1, "01" }, { 127, "7f" }, { 128, "cc80" }, { 255, "ccff" }, { 256, "cd0100" }, { 65535, "cdffff" },
      { 65536, "ce00010000" }, { 4294967295, "ceffffffff" }, { 4294967296, "cf0000000100000000" },
      { 9007199254740992, "cf0020000000000000" }, { -1, "ff" }, { -32, "e0" }, { -33, "d3ffffffffffffffdf" },
      { -4294967296, "d3ffffffff00000000" }, { -9007199254740992, "d3ffe0000000000000" }, { 1.5, "cb3ff8000000000000" },
      { -0.1, "cbbfb999999999999a" }, { 1e300, "cb7e37e43c8800759c" }, { math.huge, "cb7ff0000000000000" },
      { -math.huge, "cbfff0000000000000" }, { 9007199254740994, "cb4340000000000001" }, { 5e-324, "cb0000000000000001" },
      { true, "c3" }, { false, "c2" }, { null, "c0" }, { "", "a0" }, { "abc", "a3616263" }, { "\0\255", "a200ff" }, { {}, "80" },
      { array(), "90" }, { { 1, 2 }, "920102" }, { array { 1, null, {} }, "9301c080" }, { { a = 1 }, "81a16101" },
      { { [1] = 1, [3] = 3 }, nil }, { { [true] = 1 }, "81c301" }, { { [1.5] = 1 }, "81cb3ff800000000000001" },
      { int64 "9007199254740993", "d30020000000000001" }, { int64 "-9007199254740993", "d3ffdfffffffffffff" },
      { int64 "18446744073709551615", "cfffffffffffffffff" }, { int64 "5", "d30000000000000005" },
      { ext(5, "a"), "d40561" }, { ext(-1, "abcd"), "d6ff61626364" }, { ext(0, ""), "c70000" }, { ext(127, "abc"), "c7037f616263" },
      { ext(-128, ("x"):rep(16)), "d880" .. ("78"):rep(16) },
    } do
      if case[2] then assert.equal(case[2], hex(case[1])) end
    end
    assert.equal("cb7ff8000000000000", (hex(0 / 0):gsub("^cbfff8", "cb7ff8")))
    assert.equal("c0", hex(nil))
  end)

  it("writes long strings, arrays, maps and ext", function()
    for _, n in ipairs { 31, 32, 255, 256, 65535, 65536, 100000 } do
      local text = ("x"):rep(n)
      assert.is_true(pack.string(text) == (n < 32 and codec.head("string", n) or n < 256 and "\217" .. codec.big(n, 1)
        or codec.head("string", n)) .. text)
      assert.equal(text, back(text))
      assert.equal(text, back(ext(1, text)).bytes)
    end
    for _, n in ipairs { 1, 14, 15, 16, 17, 30, 100, 65535, 65536, 70000 } do
      local list, map = {}, {}
      for i = 1, n do list[i], map["k" .. i] = i, i end
      assert.is_true(pack.string(list):sub(1, #codec.head("array", n)) == codec.head("array", n))
      assert.is_true(pack.string(map):sub(1, #codec.head("map", n)) == codec.head("map", n))
      assert.same(list, back(list))
      assert.same(map, back(map))
    end
  end)

  it("gives every table back as it was", function()
    local deep = { "end" }
    for _ = 1, 31 do deep = { x = deep } end
    for _, t in ipairs {
      { a = { b = { c = { 1, { d = {} } } } } }, { 1, 2, { 3, { 4 } } }, { [1] = "a", [3] = "c" }, { [0] = 0, 1, 2 }, { 1, 2, n = 2 },
      { [-1] = 1 }, { [2 ^ 40] = "x" }, { [1.5] = { true, false } }, { [false] = 1, [true] = 2 }, { ["1"] = "text", [1] = "number" }, deep,
    } do
      assert.same(t, back(t))
    end
  end)

  it("loses no field of an array that has others", function()
    local list = array { 1, 2, 3 }
    list.total = 6
    assert.same({ 1, 2, 3, total = 6 }, back(list))
    list.total = nil
    assert.equal("array", getmetatable(back(list)))
    local empty = array()
    empty.x = 1
    assert.same({ x = 1 }, back(empty))
    local holes = array { 1, 2, 3, 4 }
    holes[2] = nil
    local again = back(holes)
    assert.same({ 1, 3, 4 }, { again[1], again[3], again[4] })
    assert.is_true(again[2] == null or again[2] == nil)
    -- Keys that look like the length of a list when they are only counted.
    local t = { 1, 2, nil, 4 }
    t[0.5] = "half"
    assert.equal("half", back(t)[0.5])
  end)

  it("says why something cannot be packed", function()
    local own = {}
    own.own = own
    for _, case in ipairs {
      { { f = print }, "it holds a function" }, { { { co = coroutine.create(print) } }, "it holds a thread" },
      { { [{}] = 1 }, "it has a table as a key" }, { { [print] = 1 }, "it has a function as a key" },
      { { 5LL }, "it holds a foreign object" },
      { { [int64 "1"] = 1 }, "it has a cdata as a key" }, { { ffi.new "int[4]" }, "it holds a foreign object" },
      { own, "it is nested deeper than 32 (or holds itself)" }, { { ext(200, "x") }, "it holds an ext without type and bytes" },
      { { ext(1, nil) }, "it holds an ext without type and bytes" }, { ("x"):rep(2 ^ 24), "it is too large" },
    } do
      local bytes, why = pack.string(case[1])
      assert.is_nil(bytes)
      assert.equal(case[2], why)
    end
    assert.equal("81a16101", hex { a = 1 }) -- and is itself again afterwards
  end)

  it("takes no time over tables that hold themselves often", function()
    local own = {}
    for i = 1, 20 do own["k" .. i] = own end
    local started = os.clock()
    assert.equal("it is nested deeper than 32 (or holds itself)", hex(own))
    assert.is_true(os.clock() - started < 1)
  end)

  -- Tables without a string or number in them, which used to be written without looking at the room.
  it("never writes beyond its room", function()
    local filler = ("x"):rep(2 ^ 24 - 20) -- what comes behind it lies in the last pages
    local function tree(leaf, wrap)
      local t = leaf
      for _ = 1, 14 do t = wrap { t, t } end
      return t
    end
    local function plain(t) return t end
    for _, t in ipairs { tree({}, plain), tree(array {}, array), tree(true, plain), tree(false, array), tree(null, plain) } do
      assert.equal("it is too large", hex { filler, t })
      assert.equal("it is too large", hex(array { filler, t }))
    end
    local long = array { filler }
    for i = 2, 20000 do long[i] = false end
    assert.equal("it is too large", hex(long))
    for i = 2, 20000 do long[i] = 1.5 end
    assert.equal("it is too large", hex(long))
    local text = ("x"):rep(2 ^ 20)
    local list = {}
    for i = 1, 20 do list[i] = text end
    assert.equal("it is too large", hex(list))
    assert.equal("it is too large", hex { a = { b = list } })
    local pairs_of = {}
    for i = 1, 20 do pairs_of[text .. i] = i end
    assert.equal("it is too large", hex(pairs_of))
    local exts = {}
    for i = 1, 20 do exts[i] = ext(1, text) end
    assert.equal("it is too large", hex(exts))
    assert.equal("c3", hex(true))
  end)

  it("runs no code of a rule's metatables", function()
    local reached = false
    local function reach() reached = true return nil end
    local hostile = { __index = reach, __len = reach, __pairs = reach, __ipairs = reach, __tostring = reach, __call = reach, __eq = reach }
    local function forged(kind)
      local metatable = { __metatable = kind }
      for name, f in pairs(hostile) do metatable[name] = f end
      return setmetatable({ nil, 2 }, metatable)
    end
    for _, kind in ipairs { "array", "ext", "ctx", false } do hex { x = forged(kind or nil) } end
    assert.is_false(reached)
    assert.equal("it holds an ext without type and bytes", hex { forged "ext" })
  end)

  it("writes states with their head", function()
    local len = pack.state(1700000000123, 7, { a = 1 })
    assert.equal("93cf0000018bcfe5687bce00000007" .. "81a16101", codec.to_hex(ffi.string(pack.bytes(), len)))
    assert.equal(len - 4, pack.STATE_HEAD)
    len = pack.state(0, 1, array {})
    assert.equal("93cf0000000000000000ce00000001" .. "90", codec.to_hex(ffi.string(pack.bytes(), len)))
    assert.same({ nil, "it holds a function" }, { pack.state(0, 1, { print }) })
  end)
end)
