-- Attacks from where time calls a rule: `time`, `merge`, `on_timer`, `on_window` and `on_late`. Each has the limits that
-- `on_event` has, and what it breaks is its own.
local attack = require "spec.support.attack"
local engine = require "spec.support.engine"

local SETTINGS = { limits = { rule_ms = 50, hard_ms = 300, vm_mb = 32 }, lease_ms = 1200 }
-- Memory takes time to fill, on a busy machine more than 50 ms.
local UNHURRIED = { limits = { rule_ms = 2000, hard_ms = 4000, vm_mb = 32 }, lease_ms = 12000 }

-- A rule with its window of 10 ms; `parts` replaces what it calls.
local function rule(parts)
  local function part(name, default) return parts[name] or default end
  return ([[
local tidemill = require "tidemill"
local function stack(n) return n + stack(n + 1) end
return tidemill.rule {
  stream = "s", key = "k", lateness = 20, window = tidemill.window.session(10),
  time = function(event) %s return event.ts end,
  merge = function(a, b) %s return { n = a.n + b.n } end,
  on_event = function(event, ctx)
    ctx.window.n = (ctx.window.n or 0) + 1
    ctx.timer.set("t", 5)
  end,
  on_timer = function(name, ctx) %s ctx.emit("out", { v = "timer " .. ctx.key }) end,
  on_window = function(span, ctx) %s ctx.emit("out", { v = "window " .. ctx.key }) end,
  on_late = function(event, ctx) %s ctx.emit("out", { v = "late " .. event.n }) end,
}
]]):format(part("time", ""), part("merge", ""), part("on_timer", ""),
    part("on_window", ""), part("on_late", ""))
end

-- 1, 2: two sessions of a, which 3 joins (merge); 4: b, closes that of a; 5: late; 6: c, closes that of b. Timers of a fire in front
-- of 2, 3 and 4.
local EVENTS = {
  { n = 1, k = "a", ts = 1000000000100 }, { n = 2, k = "a", ts = 1000000000112 }, { n = 3, k = "a", ts = 1000000000106 },
  { n = 4, k = "b", ts = 1000000000150 }, { n = 5, k = "a", ts = 1000000000050 }, { n = 6, k = "c", ts = 1000000000200 },
}

-- What the rule's events come to in an engine: its effects and letters in order, and how many workers died.
local function outcome(text, settings)
  local told, letters, restarts = {}, {}, nil
  attack.with_engine(function(server, start)
    for n, event in ipairs(EVENTS) do server:call("XADD", "s", (1000000000000 + 100 * n) .. "-1", "data", engine.pack(event)) end
    local e = start({ ["rule.lua"] = text }, settings or SETTINGS)
    e:wait_position("s", "1000000000600-1", 20)
    e:wait_true(function() return server:call("ZCARD", e:key "timers:rule:wall") == 0 end, 20, "all timers fired")
    e:wait_done()
    for _, out in ipairs(e:emitted "out") do told[#told + 1] = out.v end
    for _, letter in ipairs(e:letters()) do letters[#letters + 1] = letter end
    restarts = e:status().workers[1].restarts
    e:wait_equal(0, function() return server:call("EXISTS", e:key "windows:rule", e:key "timers:rule:window") end, 10, "windows left")
    e:stop()
  end)
  return told, letters, restarts
end

local LOOP, BOMB = "while true do end", "(('a'):rep(3000)):find(('a*'):rep(20) .. 'b')"
local ATTACKS = {
  { "a loop", LOOP, "time" }, { "a loop that catches", "while true do pcall(function() while true do end end) end", "time" },
  { "endless recursion", "stack(1)", "error" },
  { "memory", "local s = ('x'):rep(1e6) while true do s = s .. s end", "memory" },
  { "a pattern bomb", BOMB, "hang" },
}

describe("what time calls", function()
  it("control: does all that it should when nobody attacks", function()
    local told, letters, restarts = outcome(rule {})
    table.sort(told)
    assert.same({ "late 5", "timer a", "timer a", "timer a", "timer b", "timer c", "window a" }, { unpack(told, 1, 7) })
    assert.same({}, letters)
    assert.equal(0, restarts)
  end)

  for _, one in ipairs(ATTACKS) do
    local what, text, reason = one[1], one[2], one[3]
    it("is stopped in " .. what .. ", and only that is lost", function()
      for part, condition in pairs {
        time = "if event.n == 1 then %s end", merge = "%s", on_timer = "if ctx.key == 'b' then %s end",
        on_window = "if ctx.key == 'a' then %s end", on_late = "if event.n == 5 then %s end",
      } do
        local told, letters, restarts = outcome(rule { [part] = condition:format(text) }, reason == "memory" and UNHURRIED)
        local seen = {}
        for _, letter in ipairs(letters) do
          if letter.reason ~= "unverified" then seen[#seen + 1] = letter.reason .. " " .. (letter.timer or letter.window or letter.id) end
        end
        local at = what .. " in " .. part .. ": " .. table.concat(seen, ", ") .. " | " .. table.concat(told, ", ")
        assert.equal(1, #seen, at)
        assert.equal(reason, seen[1]:match "^%a+", at)
        assert.is_true(#told >= 4, at)
        if part == "on_window" then
          assert.equal("1000000000100-1000000000122", letters[1].window, at)
          assert.equal(3, engine.unpack(letters[1].payload).n, at)
        end
        assert.equal(reason == "hang" and 1 or 0, restarts, at)
      end
    end)
  end
end)
