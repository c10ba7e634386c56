-- Shadow rules, over the kernel of the test kit; the flow spec has them in the engine.
local runtime = require "spec.support.runtime"
local testing = require "tidemill.testing"
assert(runtime)

local function rule(fields)
  return "return require('tidemill').rule { stream = 'orders', key = 'user', " .. fields .. " }"
end

local OLD = rule [[on_event = function(event, ctx)
  if event.total >= 10 then ctx.emit("offers", { user = event.user, percent = 5 }) end
end]]

local function new(body, more)
  return rule(("mode = 'shadow', shadow_of = 'pricing', %s on_event = function(event, ctx) %s end"):format(more or "", body))
end

describe("a shadow rule in the test kit", function()
  it("wants what is kept apart, beside what was done", function()
    local kit = testing.load {
      ["pricing.lua"] = OLD,
      ["next.lua"] = new [[ctx.state.n = (ctx.state.n or 0) + 1
        if event.total >= 20 then ctx.emit("offers", { user = event.user, percent = 7 }) end
        if event.total >= 30 then ctx.redis.incr("count") end]],
    }
    kit:events("orders", { { user = 1, total = 5 }, { user = 2, total = 12 }, { user = 3, total = 30 } })
    local five = function(user) return { stream = "offers", fields = { user = user, percent = 5 } } end
    assert.same({ five(2), five(3) }, kit:effects())
    assert.same({}, kit:letters())
    assert.same({
      { rule = "next", of = "pricing", stream = "orders", id = "1700000000001-0", key = "2", would = {}, did = { five(2) },
        same = false },
      { rule = "next", of = "pricing", stream = "orders", id = "1700000000002-0", key = "3",
        would = { { stream = "offers", fields = { user = 3, percent = 7 } }, { command = { "INCR", "count" } } },
        did = { five(3) }, same = false },
    }, kit:shadow())
    assert.same({}, kit:shadow())
    assert.same({ n = 1 }, kit:state("next", 2))
    assert.same({ n = 1 }, kit:state("shadow:next", 2))
  end)

  it("is the same when values are, in whatever order the fields were packed", function()
    local kit = testing.load {
      ["pricing.lua"] = rule [[on_event = function(event, ctx) ctx.emit("offers", { a = 1, b = { x = 1, y = { 1, 2 } } }) end]],
      ["next.lua"] = new [[local t = {}
        for n = 1, 40 do t["k" .. n] = n end
        for n = 40, 1, -1 do t["k" .. n] = nil end
        t.b, t.a = { y = { 1, 2 }, x = 1 }, 1
        ctx.emit("offers", t)]],
    }
    kit:event("orders", { user = 1 })
    assert.is_true(kit:shadow()[1].same)
  end)

  it("keeps its failures to itself", function()
    local kit = testing.load {
      ["pricing.lua"] = OLD,
      ["next.lua"] = new [[ctx.emit("offers", {}) ctx.state.n = 1 if event.total == 12 then ctx.dead "no" end error "boom"]],
    }
    kit:events("orders", { { user = 1, total = 5 }, { user = 2, total = 12 } })
    assert.same({}, kit:letters())
    local records = kit:shadow()
    assert.same({ "error", "dead" }, { records[1].reason, records[2].reason })
    assert.same({ "1", "2" }, { records[1].key, records[2].key })
    assert.matches("next.lua:1: boom", records[1].message, 1, true)
    assert.same({ 0, 0, 1 }, { #records[1].would, #records[1].did, #records[2].did })
    assert.is_nil(kit:state("next", 1))
  end)

  it("is compared in failing, too", function()
    local kit = testing.load { ["pricing.lua"] = rule [[on_event = function(event, ctx) ctx.dead "no" end]],
      ["next.lua"] = new [[if event.total == 1 then ctx.dead "neither" end]] }
    kit:events("orders", { { user = 1, total = 1 }, { user = 1, total = 2 } })
    local records = kit:shadow()
    assert.same({ true, false }, { records[1].same, records[2].same })
    assert.same({ "dead", "dead" }, { records[1].did_reason, records[2].did_reason })
    assert.equal(2, #kit:letters())
  end)

  it("skips as a live rule does, and still says why it wanted nothing", function()
    local kit = testing.load { ["pricing.lua"] = OLD, ["next.lua"] = new("error 'boom'", "on_error = 'skip',") }
    kit:event("orders", { user = 1, total = 1 })
    assert.equal("error", kit:shadow()[1].reason)
  end)

  it("does not stop anything", function()
    local kit = testing.load { ["pricing.lua"] = OLD, ["next.lua"] = new("error 'boom'", "on_error = 'stop',") }
    local id, stopped = kit:event("orders", { user = 1, total = 10 })
    assert.is_string(id)
    assert.is_nil(stopped)
    assert.equal(1, #kit:effects())
  end)

  it("is within the limits of any rule", function()
    local kit = testing.load({ ["pricing.lua"] = OLD, ["next.lua"] = new [[for _ = 1, 3 do ctx.emit("offers", {}) end]] },
      { limits = { effects = 2 } })
    kit:event("orders", { user = 1, total = 1 })
    local record = kit:shadow()[1]
    assert.same({ "output", {} }, { record.reason, record.would })
  end)

  it("without shadow_of is beside nothing", function()
    local kit = testing.load { ["next.lua"] = rule [[mode = "shadow", on_event = function(_, ctx) ctx.emit("offers", {}) end]] }
    kit:event("orders", { user = 1 })
    local record = kit:shadow()[1]
    assert.same({ {}, false }, { record.did, record.same })
    assert.is_nil(record.of)
    assert.same({}, kit:effects())
  end)

  it("pairs its timers and windows with those of the other rule", function()
    local function timed(percent) return ([[state = { ttl = "1d" }, on_event = function(event, ctx)
        ctx.timer.set("t", event.wait)
      end, on_timer = function(name, ctx) ctx.emit("late", { percent = %d }) end]]):format(percent) end
    local kit = testing.load {
      ["pricing.lua"] = rule(timed(5)), ["next.lua"] = rule("mode = 'shadow', shadow_of = 'pricing', " .. timed(6)),
    }
    kit:events("orders", { { user = 1, wait = 1000 }, { user = 2, wait = 1000 }, { user = 3, wait = 500 } })
    assert.equal(3, #kit:timers "next")
    kit:advance "2s"
    assert.equal(3, #kit:effects())
    local records = kit:shadow()
    assert.equal(3, #records)
    for n, key in ipairs { "3", "1", "2" } do
      assert.same({ key, "t", "" }, { records[n].key, records[n].timer, records[n].stream })
      assert.same({ 6, 5 }, { records[n].would[1].fields.percent, records[n].did[1].fields.percent })
    end

    local function windowed(field) return ([[window = require("tidemill.window").tumbling("1s"),
      on_event = function(event, ctx) ctx.window.n = (ctx.window.n or 0) + 1 end,
      on_window = function(span, ctx) ctx.emit("counts", { %s = ctx.window.n }) end]]):format(field) end
    kit = testing.load {
      ["pricing.lua"] = rule(windowed "n"), ["next.lua"] = rule("mode = 'shadow', shadow_of = 'pricing', " .. windowed "n"),
    }
    kit:events("orders", { { user = 1 }, { user = 2 }, { user = 1 } })
    kit:advance "10s"
    records = kit:shadow()
    assert.equal(2, #records)
    assert.same({ true, true }, { records[1].same, records[2].same })
    assert.matches("^%d+%-%d+$", records[1].window)
    assert.same({ { stream = "counts", fields = { n = 2 } } }, records[1].would)
  end)

  it("has late events to itself", function()
    local kit = testing.load { ["next.lua"] = rule [[mode = "shadow", time = "at", window = require("tidemill.window").tumbling("1s"),
      on_event = function() end, on_window = function() end]] }
    kit:events("orders", { { user = 1, at = 1700000000 }, { user = 1, at = 1700000009 }, { user = 1, at = 1700000000 } })
    assert.same({}, kit:letters())
    local records = kit:shadow()
    assert.same({ "late", "1" }, { records[1].reason, records[1].key })
    assert.equal(1, kit:late "next")
  end)

  it("asks, and neither sees nor makes a conflict by what it would write", function()
    local asked = 0
    local function files(mode) return {
      ["a.lua"] = rule(mode .. [[on_event = function(event, ctx)
        ctx.redis.get("x:" .. event.user)
        ctx.redis.set("x", event.user)
        ctx.emit("seen", { user = event.user })
      end]]),
      ["b.lua"] = rule [[on_event = function(event, ctx) ctx.emit("found", { x = ctx.redis.get "x" }) end]],
    } end
    local function run(mode)
      asked = 0
      local kit = testing.load(files(mode))
      kit:redis(function(argv)
        asked = asked + (argv[2] == "x" and 1 or 0)
        return argv[2] == "x" and "old" or nil
      end)
      kit:events("orders", { { user = 1 }, { user = 2 }, { user = 3 } })
      return kit
    end
    local kit = run "mode = 'shadow', "
    assert.equal(3, asked) -- once each: no answer was void
    local found = { stream = "found", fields = { x = "old" } }
    assert.same({ found, found, found }, kit:effects())
    local records = kit:shadow()
    assert.equal(3, #records)
    assert.same({ "1", "2", "3" }, { records[1].key, records[2].key, records[3].key })
    assert.same({ command = { "SET", "x", "3" } }, records[3].would[1])
    run ""
    assert.is_true(asked > 3)
  end)

  it("has its effects in their order, whichever rule had its answer first", function()
    local kit = testing.load {
      ["a.lua"] = rule [[on_event = function(_, ctx) ctx.emit("other", { n = 1 }) end]],
      ["next.lua"] = new [[ctx.emit("offers", { n = 1 }) local x = ctx.redis.get "x" ctx.emit("offers", { x = x })
        if event.user == 2 then ctx.redis.incr "twos" end]],
      ["pricing.lua"] = rule [[on_event = function(event, ctx) ctx.emit("offers", { n = 1 })
        ctx.emit("offers", { x = event.user == 1 and ctx.redis.get "y" or "x" }) end]],
    }
    kit:redis { ["GET x"] = "x", ["GET y"] = "x" }
    kit:events("orders", { { user = 1 }, { user = 2 }, { user = 3 } })
    local two = { { stream = "offers", fields = { n = 1 } }, { stream = "offers", fields = { x = "x" } } }
    local records = kit:shadow()
    assert.same({ two, two, two }, { records[1].did, records[2].did, records[3].did })
    assert.same({ two, two }, { records[1].would, records[3].would })
    assert.same({ two[1], two[2], { command = { "INCR", "twos" } } }, records[2].would)
    assert.same({ true, false, true }, { records[1].same, records[2].same, records[3].same })
    assert.same({ "1", "2", "3" }, { records[1].key, records[2].key, records[3].key })
    local other = { stream = "other", fields = { n = 1 } }
    assert.same({ other, two[1], two[2], other, two[1], two[2], other, two[1], two[2] }, kit:effects())
  end)

  it("does not run again when the other rule's letter is retried", function()
    local kit = testing.load { ["pricing.lua"] = OLD, ["next.lua"] = new [[ctx.emit("offers", {})]] }
    kit:event("orders", { user = 1, total = 10 }, { only = "pricing" })
    assert.equal(1, #kit:effects())
    assert.same({}, kit:shadow())
  end)

  it("feeds nothing back", function()
    local kit = testing.load { ["next.lua"] = rule [[mode = "shadow", on_event = function(_, ctx) ctx.emit("orders", {}) end]] }
    kit:event("orders", { user = 1 })
    assert.equal(0, kit.rules[1].fed_back)
  end)
end)
