-- Whatever rules do, it comes to the same whether their events are run one by one or in batches of any size, with states at hand
-- or to be fetched: the oracle is the run one by one. And whether their decisions are recorded or not: where they are, the
-- records are the same, too. TIDEMILL_SEED repeats a run, TIDEMILL_ROUNDS asks for more.
local runtime = require "spec.support.runtime"
local programs = require "spec.support.programs"
local testing = require "tidemill.testing"

local ROUNDS = tonumber(os.getenv "TIDEMILL_ROUNDS") or 60
local WAYS = {
  { batch_events = 1, cold = true }, { batch_events = 2, record = 1 }, { batch_events = 3, cold = true, record = 1 },
  { batch_events = 9 }, { batch_events = 20, cold = true, record = 0.5 }, {}, { cold = true, record = 1 },
}
local PARTS = { "effects", "letters", "states", "reasons", "logs", "data", "decisions" }

-- A value as one line of text, fields in order.
local function show(v)
  if type(v) ~= "table" then return tostring(v) end
  local names, parts = {}, {}
  for name in pairs(v) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for n, name in ipairs(names) do parts[n] = tostring(name) .. "=" .. show(v[name]) end
  return "{" .. table.concat(parts, " ") .. "}"
end

local function run(program, options)
  local kit = testing.load(program.rules, options)
  local redis = programs.redis(testing.refusal)
  local asked = 0
  kit.on_effect = function(_, argv) redis.write(argv) end
  kit:redis(function(argv)
    asked = asked + 1
    local answer = redis.read(argv)
    return answer
  end)
  kit:events(program.events)
  local states = {}
  for index, R in ipairs(kit.rules) do
    for key in pairs(kit.host.stored[index]) do states[R.name .. " " .. key] = kit:state(R.name, key) end
  end
  return {
    effects = kit:effects(), letters = kit:letters(), reasons = kit:reasons(), logs = kit:logs(), states = states,
    data = redis.data, asked = asked, decisions = options.record == 1 and kit:decisions() or nil,
  }
end

-- The first difference of two runs, as text.
local function difference(want, got)
  for _, part in ipairs(PARTS) do
    local a, b = want[part] or {}, got[part] or want[part] or {}
    for n = 1, math.max(#a, #b) do
      if show(a[n]) ~= show(b[n]) then return ("%s, number %d: %s instead of %s"):format(part, n, show(b[n]), show(a[n])) end
    end
    if show(a) ~= show(b) then return ("%s: %s instead of %s"):format(part, show(b), show(a)) end
  end
end

-- What the records of all events lack: nil, each has what its rules did.
local function incomplete(program, want)
  if #want.decisions ~= #program.events then return #want.decisions .. " records of " .. #program.events .. " events" end
  local effects, reasons, failed, letters = 0, {}, 0, 0
  for _, record in ipairs(want.decisions) do
    for _, decision in ipairs(record.rules) do
      effects = effects + #(decision.effects or {})
      if decision.outcome == "failed" and not decision.skipped then failed = failed + 1 end
      for _, reason in ipairs(decision.reasons or {}) do reasons[#reasons + 1] = decision.rule .. record.id .. reason end
      if not ("ran filtered failed late"):find(decision.outcome or "-") then return "no outcome " .. show(decision) end
      if decision.outcome == "filtered" and not decision.why then return "no why " .. show(decision) end
    end
  end
  for _, letter in ipairs(want.letters) do letters = letters + (letter.rule ~= "" and 1 or 0) end
  for n, one in ipairs(want.reasons) do
    if reasons[n] ~= one.rule .. one.id .. one.reason then return "reason " .. show(one) .. " is not in its record" end
  end
  if #reasons ~= #want.reasons then return #reasons .. " reasons of " .. #want.reasons end
  if effects ~= #want.effects then return effects .. " effects of " .. #want.effects end
  return failed ~= letters and failed .. " failures, and letters: " .. letters or nil
end

local function compare(seed, round, ways)
  local program = programs.program(runtime.generator(seed + round * 7919))
  local want = run(program, { batch_events = 1, record = 1 })
  local gap = incomplete(program, want)
  if gap then return ("seed %d, round %d: %s\n%s"):format(seed, round, gap, programs.show(program)), want end
  for _, options in ipairs(ways) do
    local why = difference(want, run(program, options))
    if why then
      return ("seed %d, round %d, batches of %s%s: %s\n%s"):format(seed, round, options.batch_events or "all",
        options.cold and ", cold" or "", why, programs.show(program)), want
    end
  end
  return nil, want
end

describe("batches of any size", function()
  it("come to what single events come to", function()
    local seed, seen = runtime.seed(), { effects = 0, letters = 0, asked = 0, reasons = 0, states = 0 }
    local reasons = {}
    for round = 1, ROUNDS do
      local why, want = compare(seed, round, WAYS)
      if why then error(why, 0) end
      for what in pairs(seen) do seen[what] = seen[what] + (what == "asked" and want.asked or #want[what]) end
      for _ in pairs(want.states) do seen.states = seen.states + 1 end
      for _, letter in ipairs(want.letters) do reasons[letter.reason] = true end
    end
    -- The programs were worth it.
    for what, count in pairs(seen) do assert.is_true(count > ROUNDS / 2, what .. ": " .. count .. ", seed " .. seed) end
    if ROUNDS >= 60 then
      for _, reason in ipairs { "error", "dead", "schema", "key", "state" } do assert.is_true(reasons[reason], reason) end
    end
  end)

  it("come to what single events come to, in long streams of few keys", function()
    local seed = runtime.seed()
    for round = 1, math.ceil(ROUNDS / 30) do
      local draw = runtime.generator(seed + round * 104729)
      local program, at = programs.program(draw), 1000000
      for _ = 1, 400 do
        at = at + draw(3)
        program.events[#program.events + 1] = programs.event(draw, at)
      end
      local want = run(program, { batch_events = 1 })
      for _, options in ipairs { { batch_events = 100 }, { cold = true } } do
        local why = difference(want, run(program, options))
        if why then error(("seed %d, long round %d: %s\n%s"):format(seed, round, why, programs.show(program)), 0) end
      end
    end
  end)
end)

-- Each takes one promise of the kernel away; some program must come to something else then.
describe("the comparison notices when", function()
  local kernel = require "tidemill.kernel"
  local tasks = require "tidemill.tasks"
  local testing_host = require "tidemill.testing_host"

  local function is_noticed()
    local seed = runtime.seed()
    for round = 1, 400 do
      local ran, why = pcall(compare, seed, round, WAYS)
      if not ran or why then return true end
    end
    return false
  end

  local function without(holder, name, replacement)
    local original = holder[name]
    holder[name] = replacement(original)
    local noticed = is_noticed()
    holder[name] = original
    assert.is_true(noticed)
  end

  it("writes are forgotten that lookups of later events should see", function()
    without(kernel, "note_write", function() return function() end end)
  end)

  it("the clock of a waiting event is that of the last one", function()
    without(tasks, "run", function(original)
      return function(K, p, task)
        task.clock_ms = p.c.clock_ms
        return original(K, p, task)
      end
    end)
  end)

  it("an event overtakes another of its key", function()
    without(tasks, "must_wait", function(original)
      return function(K, p, R, i, event, key)
        if not R.asks then return false end
        return original(K, p, R, i, event, key)
      end
    end)
  end)

  it("a handler that begins again gets the event that it had changed", function()
    without(tasks, "event_again", function()
      return function(_, p, R, i)
        for _, queue in pairs(p.waiting[R.index]) do
          local task = queue[queue.head]
          if task and task.entry == i then return task.event end
        end
      end
    end)
  end)

  it("effects are not put in order", function()
    without(testing_host.Host, "take_effects", function(original)
      return function(self)
        self.c.is_unordered = 0
        return original(self)
      end
    end)
  end)

  it("a handler that failed keeps its state", function()
    without(kernel, "fail_with", function(original)
      return function(self, p, R, i, err, traceback, key)
        local c = p.c
        local slot = R.uses_state and key and self.host.find(c, R.index, key, #key)
        if slot and type(rawget(R.ctx, "state")) == "table" then pcall(self.save_state, self, p, c, R, slot, R.ctx, i, key) end
        return original(self, p, R, i, err, traceback, key)
      end
    end)
  end)
end)
