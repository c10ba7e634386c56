-- The course of a successor (src/worker/careful.h), played with a ctl that is one string, and engines that die where the spec wants.
local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/worker/careful.h")

local MOST = 6 -- entries that a dead engine may have been working on

-- A partition: entries 1 … count, rules by name. `dies(entry, rule, run)` says whether the engine dies in that rule; `kills()`
-- whether it is killed between two steps.
local function world(names, count)
  return { names = names, count = count, position = 0, note = nil, deaths = 0, letters = {}, ran = {}, row = 0 }
end

local DEATH = {}

-- One engine: from its acquire until it dies or has done everything.
local function live(w, dies, kills)
  local c, rules = ffi.new("struct careful"), ffi.new("struct careful_rule[?]", #w.names)
  for n, name in ipairs(w.names) do
    rules[n - 1].name, rules[n - 1].version = name, "v"
  end
  local function step()
    if kills and kills() then
      w.row = 0 -- not in a rule
      error(DEATH, 0)
    end
  end
  local function commit(note, entry, letters)
    step()
    if note then C.careful_sent(c, note) w.note = note end
    if entry then
      w.position, w.row, w.dead_at = entry, 0, nil
      for _, letter in ipairs(letters) do w.letters[#w.letters + 1] = letter end
    end
    local trail
    if entry and w.is_alone then trail = w.name_of(entry) end
    C.careful_landed(c, trail)
    step()
  end
  function w.name_of(entry)
    local trail = ffi.new("struct trail", { ms = entry, stream = "s" })
    return trail
  end
  local function call(entry, most, blamed)
    for n = 1, most do
      local name = w.names[n]
      if not blamed[name] then
        w.ran[entry] = w.ran[entry] or {}
        w.ran[entry][n] = (w.ran[entry][n] or 0) + 1
        if dies(entry, name) then
          local place = entry .. name
          w.row = w.dead_at == place and w.row + 1 or 1
          w.dead_at = place
          error(DEATH, 0)
        end
      end
    end
  end
  local function blames_of(entry)
    local blamed, letters = {}, {}
    if C.careful_has_found(c, w.name_of(entry)) then
      for _, name in ipairs(w.names) do
        if C.trail_blames(c.found, name, "v") then
          blamed[name] = true
          letters[#letters + 1] = entry .. name
        end
      end
    end
    return blamed, letters
  end
  local function plan_of(entry)
    local plan = ffi.new("struct careful_plan")
    C.careful_plan(c, w.name_of(entry), rules, #w.names, plan)
    return plan
  end

  local ok, err = pcall(function()
    local before = w.note and C.CAREFUL_DEAD or C.CAREFUL_KNOWN
    if not w.note then w.note = "-" end
    C.careful_begin(c, w.note, before, MOST)
    if c.has_found and tonumber(c.found.ms) <= w.position then C.careful_forget(c) end
    step()
    while w.position < w.count do
      local entry = w.position + 1
      if C.careful_is_on(c) then
        w.is_alone = true
        local plan = plan_of(entry)
        if not plan.may_run then
          commit(ffi.string(plan.note))
        else
          assert.equal(ffi.string(plan.note), w.note) -- (1) of careful.h
          local blamed, letters = blames_of(entry)
          call(entry, plan.most_rules, blamed)
          if plan.is_rehearsal then
            C.careful_survived(c, plan.most_rules)
          else
            local is_last = c.left == 1 or entry == w.count
            local found = C.careful_has_found(c, w.name_of(entry))
            local ahead = not is_last and not found and ffi.string(plan_of(entry + 1).note) or "-"
            commit(ahead, entry, letters)
          end
        end
      else
        w.is_alone = false
        local last = math.min(w.count, entry + 2) -- batches of 3
        for i = entry, last do call(i, #w.names, {}) end
        commit(w.note ~= "-" and "-" or nil, last, {})
      end
    end
    w.note = nil -- a clean end
  end)
  if not ok then
    if err ~= DEATH then error(err, 0) end
    w.deaths = w.deaths + 1
  end
  return ok
end

local function survive(w, dies, kills)
  for _ = 1, 500 do
    if live(w, dies, kills) then return end
  end
  error("it never ended")
end

describe("a successor", function()
  local function never() return false end

  it("works at full speed when the one before ended cleanly, and notes nothing", function()
    local w = world({ "a", "b" }, 10)
    survive(w, never)
    assert.same({ 0, {}, 10 }, { w.deaths, w.letters, w.position })
    for n = 1, 10 do assert.same({ 1, 1 }, w.ran[n]) end
  end)

  for place, name in ipairs { "a", "b", "c" } do
    it("finds the event and the rule after four deaths: rule " .. place .. " of 3", function()
      for poisoned = 1, 10 do
        local w = world({ "a", "b", "c" }, 10)
        survive(w, function(entry, rule) return entry == poisoned and rule == name end)
        assert.same({ { poisoned .. name }, 4, 10 }, { w.letters, w.deaths, w.position })
      end
    end)
  end

  it("finds every rule that an event kills, and several events", function()
    local w = world({ "a", "b", "c" }, 10)
    survive(w, function(entry, rule) return entry == 4 and rule ~= "b" or entry == 9 end)
    assert.same({ "4a", "4c", "9a", "9b", "9c" }, w.letters)
    assert.equal(10, w.position)
  end)

  it("is careful with as many entries as the dead one may have had, then no more", function()
    local w, is_first = world({ "a" }, 20), true
    survive(w, function(entry)
      local is_dead = is_first and entry == 3
      if is_dead then is_first = false end
      return is_dead
    end)
    assert.same({ {}, 1, 20 }, { w.letters, w.deaths, w.position })
    local died = world({ "a" }, 20)
    assert.is_false(live(died, function(entry) return entry == MOST + 1 + 3 end)) -- at full speed
    assert.equal("-", died.note)
  end)

  it("blames nobody for two deaths at one place, nor for a third elsewhere", function()
    local deaths = { "5a", "5a", "5a", "5b", "5b", "7a", "7a" }
    local w, n = world({ "a", "b" }, 10), 1
    survive(w, function(entry, rule)
      local is_now = deaths[n] == entry .. rule
      if is_now then n = n + 1 end
      return is_now
    end)
    assert.same({ {}, #deaths, 10 }, { w.letters, w.deaths, w.position })
  end)

  -- Kills at any moment. The engines die while ctl names a place, in the rule or around it: a letter needs three such deaths in a
  -- row; of the first one the rule may not be known.
  it("never blames a rule that engines did not die at", function()
    local seed = tonumber(os.getenv "TIDEMILL_SEED") or os.time()
    math.randomseed(seed)
    local letters = 0
    for _ = 1, 3000 do
      local w = world({ "a", "b", "c" }, 12)
      local row, rate = {}, math.random(4) -- deaths by place; "?": at the entry
      local told = 0
      local function die()
        local entry, rule = (w.note or "-"):match "^%d+ (%d+)%-0 0 ([?%w]+)"
        if entry then
          local place = entry .. rule
          row[place] = (row[place] or 0) + 1
        end
        return true
      end
      survive(w, function() return math.random(30) <= rate and die() end, function() return math.random(60) == 1 and die() end)
      assert.equal(12, w.position)
      for _, letter in ipairs(w.letters) do
        told = told + 1
        local unknown = math.min(1, row[letter:match "%d+" .. "?"] or 0)
        assert.is_true((row[letter] or 0) + unknown >= 3, ("TIDEMILL_SEED=%d: %s"):format(seed, letter))
      end
      letters = letters + told
    end
    assert.is_true(letters > 0)
  end)

  it("never blames a rule for kills between which anything was committed", function()
    local seed = tonumber(os.getenv "TIDEMILL_SEED") or os.time()
    math.randomseed(seed)
    for _ = 1, 2000 do
      local w, last = world({ "a", "b", "c" }, 12), -1
      survive(w, never, function()
        if w.position == last or math.random(3) > 1 then return false end
        last = w.position
        return true
      end)
      assert.same({ {}, 12 }, { w.letters, w.position }, "TIDEMILL_SEED=" .. seed)
    end
  end)
end)
