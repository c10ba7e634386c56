-- Attacks from `upgrade` and from schemas: the limits of a handler hold there, and nothing of an event is another's.
local attack = require "spec.support.attack"
local engine = require "spec.support.engine"
local testing = require "tidemill.testing"

local SETTINGS = { limits = { rule_ms = 300, hard_ms = 900, vm_mb = 32 }, lease_ms = 3000 }

local HEAD = [[upgrade = { [1] = function(old) if old.attack then %s end return old end },
  event = { n = "integer", list = { "table", default = { { n = 0 } } } },]]

local BOMB = "(('a'):rep(3000)):find(('a*'):rep(20) .. 'b')"
local ATTACKS = {
  { "a loop", "while true do end", "time" },
  { "a loop that catches", "while true do pcall(function() while true do end end) end", "time" },
  { "an event whose fields never end", "return setmetatable({}, { __index = function(t, k) while true do end end })", "time" },
  { "endless recursion", "local function f(n) return 1 + f(n + 1) end f(1)", "upgrade" },
  { "memory", "local s = ('x'):rep(1e6) while true do s = s .. s end", "memory" },
  { "a pattern bomb", BOMB, "hang" },
  { "an error without a message", "error()", "upgrade" },
  { "an error that is no text", "error(setmetatable({}, { __tostring = function() error 'reached' end }))", "upgrade" },
  { "a global", "leak = 1", "upgrade" },
}

describe("an upgrade", function()
  for _, one in ipairs(ATTACKS) do
    it("is stopped in " .. one[1] .. ", and only that event is lost", function()
      attack.with_engine(function(server, start)
        local text = attack.rule("ctx.redis.rpush('done', ctx.id .. ' ' .. event.v)", "", HEAD:format(one[2]))
        for n = 1, 3 do server:call("XADD", "s", "1-" .. n, "data", engine.pack { n = n, attack = n == 2 or nil }) end
        local e = start({ ["rule.lua"] = text }, SETTINGS)
        e:wait_position("s", "1-3", 20)
        e:wait_done()
        local letters = e:letters()
        assert.equal(1, #letters)
        assert.same({ one[3], "rule", "1-2" }, { letters[1].reason, letters[1].rule, letters[1].id }, letters[1].message)
        assert.same({ "1-1 2", "1-3 2" }, server:call("LRANGE", "done", 0, -1))
        assert.equal(3, server:call("LLEN", "witness"))
        assert.equal(one[3] == "hang" and 1 or 0, e:status().workers[1].restarts)
        e:stop()
      end)
    end)
  end

  it("leaves no trace of one that ran out of memory on the error that comes next", function()
    attack.with_engine(function(server, start)
      local text = attack.rule("if event.n == 3 then error 'handler' end", "",
        HEAD:format "local s = ('x'):rep(1e6) while true do s = s .. s end")
      for n = 1, 3 do server:call("XADD", "s", "1-" .. n, "data", engine.pack { n = n, attack = n == 2 or nil }) end
      local e = start({ ["rule.lua"] = text }, SETTINGS)
      e:wait_position("s", "1-3", 20)
      e:wait_done()
      local reasons = {}
      for n, letter in ipairs(e:letters()) do reasons[n] = letter.id .. " " .. letter.reason end
      assert.same({ "1-2 memory", "1-3 error" }, reasons)
      e:stop()
    end)
  end)

  it("control: does what it says when nobody attacks", function()
    local kit = testing.load { ["rule.lua"] = attack.rule("ctx.emit('out', event)", "", HEAD:format "") }
    kit:event("s", { n = 1, attack = true })
    assert.same({ { stream = "out", fields = { n = 1, attack = true, v = 2, list = { { n = 0 } } } } }, kit:effects())
  end)

  it("of one version cannot be reached through that of another event: defaults are each event's own", function()
    local kit = testing.load {
      ["a.lua"] = attack.rule("event.list[1].n = event.list[1].n + 1 event.list[2] = 'mine' ctx.emit('out', event)", "", HEAD:format ""),
      ["b.lua"] = attack.rule("ctx.emit('out', event)", "", HEAD:format ""),
    }
    kit:events("s", { { n = 1 }, { n = 2 } })
    local seen = {}
    for n, effect in ipairs(kit:effects()) do seen[n] = effect.fields.list end
    assert.same({ { { n = 1 }, "mine" }, { { n = 0 } }, { { n = 1 }, "mine" }, { { n = 0 } } }, seen)
  end)

  it("cannot be made to run by reading what a rule says: metatables of a schema are not asked", function()
    local trap = "setmetatable(%s, { __index = function() while true do end end, __pairs = function() while true do end end, "
      .. "__len = function() while true do end end, __eq = function() while true do end end })"
    for _, event in ipairs { "{ a = 'string' }", "{ a = %s }", "{ a = { %s } }", "{ a = { enum = %s } }", "{ a = { fields = %s } }",
      "{ a = { list = %s } }", "{ a = { 'any', default = %s } }", "{ a = { 'any', renamed = %s } }" } do
      local text = event:find("%s", 1, true) and event:format(trap:format "{}") or trap:format(event)
      pcall(testing.load, { ["rule.lua"] = attack.rule("", "", "event = " .. text .. ",") }) -- comes back, whatever it says
      local whole = "event = tidemill.schema(" .. trap:format("{ event = " .. text .. " }") .. "),"
      pcall(testing.load, { ["rule.lua"] = attack.rule("", "", whole) })
    end
    for _, text in ipairs { trap:format "{}", trap:format "{ print }", "{ " .. trap:format "{}" .. " }" } do
      pcall(testing.load, { ["rule.lua"] = attack.rule("", "", "upgrade = " .. text .. ",") })
    end
  end)
end)
