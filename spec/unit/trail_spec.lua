local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/worker/trail.h")

local function parse(text)
  local trail = ffi.new("struct trail")
  if not C.trail_parse(text, trail) then return nil end
  return trail
end

local function format(trail)
  local text = ffi.new("char[?]", C.TRAIL_NOTE)
  C.trail_format(trail, text)
  return ffi.string(text)
end

-- What the next one finds after a death under this note.
local function after_death(text)
  local trail = assert(parse(text), text)
  C.trail_count_death(trail)
  return format(trail)
end

local function blamed(text)
  local list, at, rule, version = {}, ffi.new("size_t[1]"), ffi.new("char[65]"), ffi.new("char[16]")
  local trail = assert(parse(text))
  while C.trail_next_blamed(trail, at, rule, version) do list[#list + 1] = ffi.string(rule) .. " " .. ffi.string(version) end
  return list
end

describe("the note in ctl", function()
  it("says the same after reading", function()
    for _, text in ipairs { "0 1-0 0 ? - orders", "2 1700000000000-12 3 cart/1a2b - orders", "1 5-5 0 ?/x a/1,b/2 s",
      "0 18446744073709551615-18446744073709551615 60000 r/0123456789abcde - a stream with spaces, and / ? -",
      "0 1-1 0 -/v a-b_/c " .. ("x"):rep(1000), "1 1700000000000-9007199254740991 0 remind/1a2b - " } do
      assert.equal(text, format(parse(text)), text)
    end
  end)

  it("is none when no engine wrote it", function()
    for _, text in ipairs { "", "-", "x", "1 2-3 0 ? -", "x 2-3 0 ? - s", "1 2 0 ? - s", "1 2-x 0 ? - s", "1 2-3 x ? - s",
      "1 2-3 0 rule - s", "1 2-3 0 /v - s", "1 2-3 0 ? ", " 1 2-3 0 ? - s", "1  2-3 0 ? - s", "1 2-3 0 r/" .. ("v"):rep(16) .. " - s",
      "1 2-3 0 " .. ("r"):rep(72) .. "/v - s", "1 2-3 0 ? - " .. ("x"):rep(1024), "1 2-3 0 ? " .. ("b"):rep(1024) .. " s" } do
      assert.is_nil(parse(text), text)
    end
  end)

  it("counts deaths; the third one in a rule blames it", function()
    assert.equal("1 5-0 0 ? - s", after_death "0 5-0 0 ? - s")
    assert.equal("2 5-0 0 ? - s", after_death "1 5-0 0 ? - s")
    assert.equal("9 5-0 0 ? - s", after_death "8 5-0 0 ? - s") -- in no rule: nothing to blame
    assert.equal("1 5-0 0 r/v - s", after_death "0 5-0 0 r/v - s")
    assert.equal("2 5-0 0 r/v - s", after_death "1 5-0 0 r/v - s")
    assert.equal("0 5-0 0 ? r/v s", after_death "2 5-0 0 r/v - s")
    assert.equal("0 5-0 0 ? a/1,r/v s", after_death "2 5-0 0 r/v a/1 s")
    assert.equal("0 5-0 0 ? a/1,shadow:r/v s", after_death "2 5-0 0 shadow:r/v a/1 s")
    assert.same({ "a 1", "r v" }, blamed "0 5-0 0 ? a/1,r/v s")
    assert.same({}, blamed "0 5-0 0 ? - s")
  end)

  it("gives a rule the deaths in it, or those of which the rule is not known", function()
    local function at_rule(text, rule, version) return format(C.trail_at_rule(parse(text), rule, version)) end
    assert.equal("1 5-0 0 a/1 - s", at_rule("1 5-0 0 ? - s", "a", "1"))
    assert.equal("2 5-0 0 a/1 - s", at_rule("2 5-0 0 a/1 - s", "a", "1"))
    assert.equal("0 5-0 0 b/1 - s", at_rule("2 5-0 0 a/1 - s", "b", "1"))
    assert.equal("0 5-0 0 a/2 x/1 s", at_rule("2 5-0 0 a/1 x/1 s", "a", "2")) -- it was edited
    assert.equal("0 5-0 0 ? x/1 s", format(C.trail_at_rest(parse "2 5-0 0 a/1 x/1 s")))
  end)

  it("blames a rule of one version", function()
    local trail = parse "0 5-0 0 ? cart/1,carts/2 s"
    for _, case in ipairs { { "cart", "1", true }, { "carts", "2", true }, { "cart", "2", false }, { "car", "1", false },
      { "t", "1", false } } do
      assert.equal(case[3], C.trail_blames(trail, case[1], case[2]), case[1] .. case[2])
    end
  end)

  it("has room for many rules, and then forgets to blame", function()
    local text = "2 5-0 0 r1/v - s"
    for n = 1, 300 do
      local after = after_death(text)
      assert.is_true(#after < C.TRAIL_NOTE)
      assert.is_truthy(parse(after), after)
      text = after:gsub("^0 5%-0 0 %?", "2 5-0 0 rule_" .. n .. "/0123456789")
    end
    assert.is_true(#blamed(text) > 40)
  end)
end)
