-- A rule that is over its time is stopped between any two instructions while the mark names it (sandbox/limit.h). Most of them are the
-- rule's own; here it is stopped at each of the kernel's and of ctx: its event fails with `time`, or was done already, and all
-- others are done.
require "spec.support.runtime"
local limits = require "tidemill.limits"
local testing = require "tidemill.testing"

local RULES = {
  ["asks.lua"] = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "s",
  key = "key",
  on_event = function(event, ctx)
    ctx.state.sum = (ctx.state.sum or 0) + event.n
    ctx.emit("out", { n = event.n, got = ctx.redis.get("k") })
  end,
}
]],
}
local EVENTS = { { key = "x", n = 1 }, { key = "x", n = 2 }, { key = "y", n = 4 } }

-- Raises what the hook of limit.c raises, at the instruction number `at` of those that count.
local function stop_at(kit, at)
  local count = 0
  debug.sethook(function()
    local source = kit.kernel.mark.rule ~= 0 and debug.getinfo(2, "S").source or ""
    if not source:find "/kernel.lua$" and not source:find "/context.lua$" then return end
    count = count + 1
    if count < at then return end
    debug.sethook()
    kit.is_stopped = true
    error(limits.interrupt(kit.kernel), 0)
  end, "", 1)
end

-- The second time the kernel knows that the rule asks and has a state.
local function run(at, options)
  local kit = testing.load(RULES, options)
  kit:redis { ["GET k"] = "7" }
  kit:events("s", EVENTS)
  kit:effects()
  kit.watch = nil -- the kit's own hook would take the place of this one
  stop_at(kit, at)
  local ok, err = pcall(kit.events, kit, "s", EVENTS)
  debug.sethook()
  assert(ok, err)
  return kit
end

describe("a rule that is stopped at any instruction of the kernel's", function()
  for _, options in ipairs { { cold = true }, {} } do
    it("loses that event alone" .. (options.cold and ", with states to be fetched" or ""), function()
      local at, stopped = 0, 0
      repeat
        at = at + 1
        local kit = run(at, options)
        local effects, letters = kit:effects(), kit:letters()
        local sum = kit:state("asks", "x").sum + kit:state("asks", "y").sum - 7
        for _, effect in ipairs(effects) do sum = sum - effect.fields.n end
        local shown = ("stopped at instruction %d"):format(at)
        assert.equal(0, sum, shown) -- states and effects tell the same
        assert.equal(3, #effects + #letters, shown)
        for _, letter in ipairs(letters) do assert.equal("time", letter.reason, shown) end
        assert.is_true(#letters <= 1, shown)
        stopped = stopped + #letters
      until not kit.is_stopped
      assert.is_true(stopped > 20)
    end)
  end
end)
