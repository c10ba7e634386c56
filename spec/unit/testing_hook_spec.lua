-- The test kit's hook: it stops rules on time as the engine does (spec/sandbox/limits_spec.lua), and leaves other hooks alone.
local runtime = require "spec.support.runtime"
local testing = require "tidemill.testing"
assert(runtime)

local LOOP = "while true do end"

local function load(text, limits, more)
  local files = { ["a.lua"] = "local tidemill = require 'tidemill'\nreturn tidemill.rule {\n" .. text .. "\n}" }
  for name, v in pairs(more or {}) do files[name] = v end
  return testing.load(files, { limits = limits or { rule_ms = 5 } })
end

-- The only letter; it must be one of `time`.
local function time_letter(kit)
  local letters = kit:letters()
  assert.equal(1, #letters)
  assert.same({ "time", "ran longer than 5 ms (limits.rule_ms)" }, { letters[1].reason, letters[1].message })
  assert.same({}, kit:effects())
  return letters[1]
end

describe("the limit on time of the test kit", function()
  it("stops a handler, and tells the line", function()
    local kit = load("stream = 's', on_event = function(event, ctx)\nctx.emit('no', {}) ctx.state.n = 1\n if event.n then\n"
      .. LOOP .. " end end")
    kit:event("s", { n = 1 })
    assert.equal("a.lua:6: in on_event", time_letter(kit).traceback)
    assert.is_nil(kit:state "a")
    kit:event("s", {})
    assert.equal(1, #kit:effects())
    assert.same({ n = 1 }, kit:state "a")
  end)

  local PLACES = {
    ["when"] = "stream = 's', when = function() LOOP end, on_event = print",
    key = "stream = 's', key = function() LOOP end, on_event = print",
    time = "stream = 's', time = function() LOOP end, on_event = print",
    migrate = "stream = 's', state = { version = 2, migrate = function() LOOP end }, "
      .. "on_event = function(_, ctx) return ctx.state.n end",
    on_late = "stream = 's', time = 'ts', window = tidemill.window.tumbling(10), on_window = function() end, "
      .. "on_event = function() end, on_late = function() LOOP end",
    merge = "stream = 's', time = 'ts', lateness = 100, window = tidemill.window.session(10), merge = function() LOOP end, "
      .. "on_window = print, on_event = function(e, ctx) ctx.window.n = 1 end",
  }
  for name, text in pairs(PLACES) do
    it("stops the function " .. name, function()
      local kit = load((text:gsub("LOOP", LOOP)))
      if name == "migrate" then kit:set_state("a", nil, { n = 1 }, { version = 1 }) end
      if name == "on_late" or name == "merge" then
        kit:event("s", { ts = 1700000000000 })
        kit:event("s", { ts = 1700000000000 + (name == "merge" and 15 or 50) })
        assert.same({}, kit:letters())
      end
      kit:event("s", { ts = 1700000000008 - (name == "on_late" and 8 or 0) })
      assert.matches("^a.lua:%d+: in " .. name, time_letter(kit).traceback)
    end)
  end

  it("stops an upgrade of a schema that rules share", function()
    local kit = load("stream = 's', event = require 'schemas.s', on_event = print", nil, {
      ["schemas/s.lua"] = "return require('tidemill').schema { event = {}, upgrade = {\n[1] = function()\n" .. LOOP .. " end } }" })
    kit:event("s", {})
    assert.matches("^schemas/s.lua:3: in ", time_letter(kit).traceback)
  end)

  it("stops what time calls", function()
    local kit = load("stream = 's', key = 'k', on_event = function(e, ctx) ctx.timer.set('t', 5) end, "
      .. "on_timer = function() " .. LOOP .. " end")
    kit:event("s", { k = 1 })
    kit:advance(10)
    assert.equal("t", time_letter(kit).timer)
    kit = load("stream = 's', window = tidemill.window.tumbling(10), on_event = function(e, ctx) ctx.window.n = 1 end, "
      .. "on_window = function() " .. LOOP .. " end")
    kit:event("s", {})
    kit:advance "1m"
    assert.truthy(time_letter(kit).window)
  end)

  it("stops coroutines of the rule, and a rule that waits for answers", function()
    local kit = load("stream = 's', on_event = function(e, ctx) local co = coroutine.wrap(function() coroutine.yield() "
      .. LOOP .. " end)\nco() co() end")
    kit:event("s", {})
    time_letter(kit)
    kit = load("stream = 's', on_event = function(e, ctx) ctx.redis.get('k')\n" .. LOOP .. " end")
    kit:redis { ["GET k"] = "1" }
    kit:event("s", {})
    assert.equal("a.lua:4: in on_event", time_letter(kit).traceback)
    kit:event("s", {})
    time_letter(kit)
  end)

  it("stops a rule that asks without end, by the sum of its turns", function()
    local kit = load("stream = 's', on_event = function(e, ctx) while true do for n = 1, 30000 do local x = n end "
      .. "ctx.redis.get('k') end end")
    local asked = 0
    kit:redis(function()
      asked = asked + 1
      return "1"
    end)
    kit:event("s", {})
    time_letter(kit)
    assert.is_true(asked > 1, asked .. " questions")
  end)

  it("is of one event: many short ones have all the time they need", function()
    local kit = load("stream = 's', on_event = function(e, ctx) for n = 1, 20000 do local x = n end end")
    local events = {}
    for n = 1, 200 do events[n] = {} end
    local began = os.clock()
    kit:events("s", events)
    assert.is_true(os.clock() - began > 0.005, "they took more than the limit of one")
    assert.same({}, kit:letters())
  end)

  it("is of the rule where that has a lower one", function()
    local kit = testing.load {
      ["a.lua"] = "return { stream = 's', limits = { rule_ms = 2 }, on_event = function() " .. LOOP .. " end }" }
    kit:event("s", {})
    assert.equal("ran longer than 2 ms (the rule's limits.rule_ms)", kit:letters()[1].message)
  end)

  it("breaks off nothing that the engine does in C", function()
    for _, call in ipairs { "ctx.timer.get('t' .. n % 7)", "ctx.log.info(n)", "ctx.reason(n)", "ctx.emit('o', { n = n, list = { 1, 2 } })",
      "ctx.timer.set('t' .. n % 7, n + 1000)", "ctx.redis.incr('k' .. n)", "ctx.state[n] = { n }" } do
      local kit = load("stream = 's', on_event = function(e, ctx) local n = 0 if e.n then ctx.emit('good', {}) return end "
        .. "while true do n = n + 1 " .. call .. " end end, on_timer = function() end",
        { rule_ms = 2, effects = 60000, effect_kb = 200000 })
      for _ = 1, 3 do
        kit:event("s", {})
        kit:event("s", { n = 1 })
        local letter = kit:letters()[1]
        assert.equal("time", letter.reason, call .. " " .. letter.message)
        assert.same({ { stream = "good", fields = {} } }, kit:effects(), call)
        assert.same({}, kit:timers "a", call)
      end
    end
  end)
end)

-- A rule is over its time while its state is fetched: in the engine that is C, and done when the rule is stopped.
it("the kit's own side is never stopped half way", function()
  local kit = load("stream = 's', key = 'k', on_event = function(e, ctx) ctx.state.n = 1 ctx.emit('no', {}) end")
  local load_slot, begun, ended = kit.host.load_slot, 0, 0
  function kit.host:load_slot(...)
    begun = begun + 1
    local until_s = os.clock() + 0.3 -- time in there counts a fiftieth
    while os.clock() < until_s do local _ = begun end
    ended = ended + 1
    return load_slot(self, ...)
  end
  kit:event("s", { k = 1 })
  time_letter(kit)
  assert.same({ 1, 1 }, { begun, ended })
end)

describe("the limit on loading of the test kit", function()
  local function refusal(files, ms)
    local ok, why = pcall(testing.load, files, { limits = { load_ms = ms or 10 } })
    assert.is_false(ok)
    return why
  end

  it("stops a file, and tells the line", function()
    local why = refusal { ["a.lua"] = "local n = 0\n\n" .. LOOP }
    assert.matches("\na.lua:3: loading took longer than 10 ms %(limits.load_ms%)\n", why)
  end)

  it("stops a library, at its own line", function()
    local why = refusal { ["a.lua"] = "local ok, x = pcall(require, 'lib.x')\nreturn { stream = 's', on_event = print }",
      ["lib/x.lua"] = "\n" .. LOOP }
    assert.matches("\nlib/x.lua:2: loading took", why)
  end)

  it("leaves the other files their time", function()
    local why = refusal { ["a.lua"] = LOOP, ["b.lua"] = "for n = 1, 10000 do local x = n end return { strem = 's' }" }
    assert.matches("\na.lua:1: loading took", why)
    assert.matches("\nb.lua:1: unknown field `strem`", why)
    assert.is_nil(why:find("b.lua:1: loading", 1, true))
  end)

  it("leaves nothing behind", function()
    refusal { ["a.lua"] = LOOP }
    local kit = testing.load { ["a.lua"] = "return { stream = 's', on_event = function() error 'x' end }" }
    kit:event("s", {})
    assert.equal("error", kit:letters()[1].reason)
  end)
end)

describe("another hook", function()
  after_each(function() debug.sethook() end)

  it("is put back, whatever happens in between", function()
    local function mine() end
    local kit = load("stream = 's', on_event = function(e, ctx) if e.ask then ctx.redis.get('k') end if e.n then "
      .. LOOP .. " end end")
    debug.sethook(mine, "l", 12345)
    local f, mask, count = debug.gethook()
    for _, event in ipairs { {}, { n = 1 } } do
      kit:event("s", event)
      assert.same({ f, mask, count }, { debug.gethook() })
    end
    assert.is_false((pcall(kit.event, kit, "s", { ask = true })))
    assert.same({ f, mask, count }, { debug.gethook() })
    assert.is_false((pcall(testing.load, { ["a.lua"] = LOOP }, { limits = { load_ms = 5 } })))
    assert.same({ f, mask, count }, { debug.gethook() })
    assert.equal(mine, f)
  end)

  it("that was none stays none, and the spec's own functions run under its own", function()
    local kit = load("stream = 's', on_event = function(e, ctx) ctx.redis.get('k') end")
    local inside = "not asked"
    kit:redis(function()
      inside = debug.gethook()
      return "1"
    end)
    kit:event("s", {})
    assert.is_nil(inside)
    assert.is_nil((debug.gethook()))
  end)
end)
