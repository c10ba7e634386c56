-- CPU: attacks that would run for ever. What runs as Lua, compiled or not, is stopped by the time limit: limits_spec.lua has dozens
-- of such loops. Here are those that run inside of one function of C, where no hook can stop them: either the function does not do
-- it in a rule, or the worker is killed and the event blamed (`hang`).
local attack = require "spec.support.attack"
local run = attack.run

describe("CPU:", function()
  -- Each is a different way to make Lua's pattern matcher, which goes back and tries again, try very often.
  local BOMBS = {
    "(('a'):rep(3000)):find(('a*'):rep(20) .. 'b')",          -- any of twenty may give a letter to the next
    "(('a'):rep(40)):match(('a?'):rep(40) .. ('a'):rep(41))", -- two ways at each of forty
    "(('a'):rep(1e6)):match '.-b'",                           -- from each place to the end
    "(('('):rep(1e6)):find '%b()'",                           -- balanced, from each place to the end
    "(('a'):rep(1e6)):gsub('a+b', '')",                       -- each start gives all of its letters back
    "(('ab'):rep(3e5)):gsub('(.*)%1%1c', '')",                -- a capture that must come again
    "for _ in (('a'):rep(1e6)):gmatch 'a-a-c' do end",
    "(('x'):rep(2e5)):find(('[^y]-'):rep(10) .. 'y')",
  }

  it("a pattern bomb takes its own event and worker, and nobody else's", function()
    local storm = {}
    for n, bomb in ipairs(BOMBS) do storm[n] = { bomb, "hang" } end
    attack.storm(storm, { limits = { hard_ms = 200 }, lease_ms = 1000 })
  end)

  it("control: each of the bombs is still at work after twice that time", function()
    for _, bomb in ipairs(BOMBS) do assert.is_nil(attack.alone(bomb, 0.4), bomb) end
  end)

  local NO_POSITION = { "0 / 0", "2 ^ 53", "-2 ^ 31", "-1", "1 / 0", "-1 / 0", "'-9'" }

  it("table.insert takes no position that it would move two thousand million elements for", function()
    for _, at in ipairs(NO_POSITION) do
      local _, letter = run(("table.insert({}, %s, 1)"):format(at))
      assert.matches("rule.lua:6: table.insert: there is no position", letter.message, 1, true)
    end
    assert.same({ a = 0, b = 1, c = 3, d = 2, e = 9 }, (run [[
      local t = { 1, 2 }
      table.insert(t, 2, 3) table.insert(t, "1", 0) table.insert(t, 9)
      ctx.emit("out", { a = t[1], b = t[2], c = t[3], d = t[4], e = t[5] })]]))
  end)

  it("control: plain LuaJIT moves them", function()
    assert.is_nil(attack.alone("table.insert({}, 0 / 0, 1)", 0.4))
  end)

  it("a __tostring that comes back to itself fills the stack, and ends", function()
    for _, body in ipairs {
      "tostring(setmetatable({}, { __tostring = tostring }))",
      "local t = {} setmetatable(t, { __tostring = t, __call = tostring }) tostring(t)",
      "print(setmetatable({}, { __tostring = tostring }))",
      "ctx.log.info(setmetatable({}, { __tostring = tostring }))",
      "ctx.dead(setmetatable({}, { __tostring = tostring }))",
      "string.format('%s', setmetatable({}, { __tostring = tostring }))",
    } do
      local _, letter = run(body)
      assert.is_truthy(letter.message:find "stack overflow" or letter.message:find "error in error handling", letter.message)
    end
  end)

  it("control: in plain LuaJIT it runs for ever, in no function that could be stopped", function()
    assert.is_nil(attack.alone("local steps = 0 debug.sethook(function() error 'stopped' end, '', 1000) "
      .. "tostring(setmetatable({}, { __tostring = tostring }))", 0.4))
  end)
end)
