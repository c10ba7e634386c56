-- Events that rules are blamed for (kernel.lua, run_alone): those rules fail without being called, the others run. How an event
-- comes to be alone and blamed: spec/flow/blame_spec.lua.
require "spec.support.runtime"
local testing = require "tidemill.testing"

local function rule(lines) return ("return { stream = 's', %s }"):format(lines) end

local function emits(name) return ("on_event = function(e, ctx) ctx.emit('o', { rule = %q, n = e.n }) end"):format(name) end

describe("a blamed event", function()
  local function run(kit, blames)
    local alone = { blames = {} }
    for name, blame in pairs(blames) do
      for _, R in ipairs(kit.kernel.rules) do
        if R.name == name then alone.blames[R.index] = blame end
      end
    end
    kit.partition.alone = alone
    local processed, stopped = kit:event("s", { n = 1 })
    kit.partition.alone = nil
    return processed, stopped
  end

  local function seen(kit)
    local rules, letters = {}, {}
    for n, effect in ipairs(kit:effects()) do rules[n] = effect.fields.rule end
    for n, letter in ipairs(kit:letters()) do letters[n] = { letter.rule, letter.reason, letter.message, letter.key, letter.traceback } end
    return rules, letters
  end

  it("is a letter of that rule; its other rules run", function()
    local kit = testing.load { ["a.lua"] = rule(emits "a"), ["b.lua"] = rule(emits "b"), ["c.lua"] = rule(emits "c") }
    run(kit, { b = { reason = "crash", message = "it died" } })
    local rules, letters = seen(kit)
    assert.same({ "a", "c" }, rules)
    assert.same({ { "b", "crash", "it died", "", "" } }, letters)
    kit:event("s", { n = 2 })
    assert.same({ "a", "b", "c" }, (seen(kit)))
  end)

  it("is a letter each of several rules, also behind one that fails by itself", function()
    local kit = testing.load { ["a.lua"] = rule(emits "a"), ["b.lua"] = rule "on_event = function() error 'x' end",
      ["c.lua"] = rule(emits "c"), ["d.lua"] = rule(emits "d") }
    run(kit, { a = { reason = "hang", message = "m1" }, d = { reason = "crash", message = "m2" } })
    local rules, letters = seen(kit)
    assert.same({ "c" }, rules)
    assert.same({ "a", "hang", "m1" }, { unpack(letters[1], 1, 3) })
    assert.same({ "b", "error" }, { unpack(letters[2], 1, 2) })
    assert.same({ "d", "crash", "m2" }, { unpack(letters[3], 1, 3) })
  end)

  it("does what the rule's on_error says", function()
    local kit = testing.load { ["a.lua"] = rule("on_error = 'skip', " .. emits "a"), ["b.lua"] = rule(emits "b") }
    run(kit, { a = { reason = "crash", message = "m" } })
    local rules, letters = seen(kit)
    assert.same({ { "b" }, {} }, { rules, letters })
    assert.same({ 1, 1 }, { kit.kernel.rules[1].failed, kit.kernel.rules[1].skipped })
    kit = testing.load { ["a.lua"] = rule("on_error = 'stop', " .. emits "a"), ["b.lua"] = rule(emits "b") }
    local _, stopped = run(kit, { a = { reason = "crash", message = "m" } })
    rules, letters = seen(kit)
    assert.same({ {}, {}, "rule a: crash: m" }, { rules, letters, stopped })
  end)

  it("waits for states and answers of the other rules", function()
    local kit = testing.load { ["a.lua"] = rule(emits "a"), ["b.lua"] = rule [[key = "n", on_event = function(e, ctx)
      ctx.state.seen = ctx.redis.get("x")
      ctx.emit("o", { rule = ctx.state.seen }) end]] }
    kit:redis { ["GET x"] = "found" }
    run(kit, { a = { reason = "crash", message = "m" } })
    local rules, letters = seen(kit)
    assert.same({ { "found" }, 1 }, { rules, #letters })
  end)
end)
