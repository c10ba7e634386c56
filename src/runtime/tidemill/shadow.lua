-- shadow.lua: rules with `mode = "shadow"`: they run on what the live ones run on, with state and timers of their own, and what
-- they want done is taken out of the batch and told of, beside what the rule did that they would replace (`shadow_of`).
--
--   rules run ──> effects and failures of the batch ──settle──┬─> effects of live rules: written
--                                                             └─> records { would, did }: kept in `…:shadow:RULE`
--
-- (1) There is a record of each entry for which one of the two wanted anything: effects, or to fail. (2) Of timers and windows
-- that fire there is one record for both rules where kind, key, name and due time are the same, and one batch has both. Else
-- there are two, one with nothing in `did` and one with nothing in `would`: who reads them joins them (cli/shadow_view.h), and
-- so do the counts. (3) The effects of live rules stay as they are, in their order: what is committed of them is the same as
-- without any shadow rule.
local entry = require "tidemill.entry"
local ffi = require "tidemill.cdef"

local shadow = {}

local FIRED = entry.FIRED
local NONE = -1
local HALVES_MOST = 4096        -- of one rule, while their other halves are waited for
local HALVES_BYTES = 256 * 1024 -- of all of these
local type = type

---The kernel's shadow rules, if there are any: K.shadows. Their counts, since the engine's start: R.shadow_counts.
function shadow.open(K)
  for _, R in ipairs(K.rules) do
    if R.is_shadow then
      K.shadows = K.shadows or {}
      K.shadows[#K.shadows + 1] = R
      R.shadow_counts = { effects = 0, same = 0, different = 0, only_would = 0, only_did = 0 }
    end
  end
end

---A shadow rule, or one that has a shadow, has failed.
function shadow.note_failure(p, R, i, reason, message, traceback, key)
  p.watched = p.watched or {}
  p.watched[#p.watched + 1] = { rule = R, entry = i, reason = reason, message = message, traceback = traceback, key = key }
end

-- ── gathering: what each entry's rules wanted ───────────────────────────────────────────────────────────────────────────

-- What stands for an entry: its number, and of what fired something that is the same for both rules (2).
local function place_of(c, i)
  if i < FIRED then return i end
  local fired = c.fired[i - FIRED]
  return ("%d %.17g %d %s%s"):format(fired.kind, fired.entry.ms, fired.key_len, ffi.string(fired.key, fired.key_len),
    ffi.string(fired.name, fired.name_len))
end

-- A letter that is tried again is not the shadow's matter.
local function is_retry(c, i)
  local e = entry.at(c, i)
  return e.attempts > 0 and e.only > 0
end

-- The group of an entry: what each rule wanted of it, by the rule's index.
local function group_of(groups, c, i, index)
  local place = place_of(c, i)
  local group = groups.by_place[place]
  local wish = group and group.wishes[index]
  if not group or (wish and wish.entry ~= i) then
    group = { at = entry.position(c, i), place = place, is_retry = is_retry(c, i), wishes = {} }
    groups.by_place[place], groups[#groups + 1] = group, group
  end
  return group
end

-- What a rule wanted of an entry: the batch's effects first … first + count - 1, or the failure.
local function wish_of(groups, c, i, index)
  local group = group_of(groups, c, i, index)
  local wish = group.wishes[index]
  if not wish then
    wish = { entry = i, first = 0, count = 0 }
    group.wishes[index] = wish
  end
  return wish
end

-- A function made in a loop's function would keep it from being compiled: hence by itself.
local function is_before(a, b) return a.at < b.at end

-- All that shadow rules, and those that they would replace, wanted in a batch: a list of groups in the order of their entries.
local function gather(K, p)
  local c, rules = p.c, K.rules
  local groups = { by_place = {} }
  for n = 0, c.effect_count - 1 do
    local effect = c.effects[n]
    if rules[effect.rule].is_watched then
      local wish = wish_of(groups, c, effect.entry, effect.rule)
      if wish.count == 0 then wish.first = n end
      wish.count = wish.count + 1
    end
  end
  for _, failure in ipairs(p.watched or {}) do
    local wish = wish_of(groups, c, failure.entry, failure.rule.index)
    wish.failure = wish.failure or failure
  end
  table.sort(groups, is_before)
  return groups
end

-- ── comparing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

local function reason_of(wish) return wish and wish.failure and wish.failure.reason end

-- Keeps a half until the other comes. Too many of them are forgotten: then each counts for itself.
local function keep_half(halves, place, half)
  half.size = #place + #half.bytes
  if halves.count == HALVES_MOST or halves.bytes + half.size > HALVES_BYTES then
    halves.count, halves.bytes, halves.by_place = 0, 0, {}
  end
  if half.size > HALVES_BYTES then return end
  halves.count, halves.bytes, halves.by_place[place] = halves.count + 1, halves.bytes + half.size, half
end

-- Counts a record of what fired for one of the rules only, in this batch (2). Its other half may have come, or comes yet.
local function count_half(K, p, R, place, half)
  local counts = R.shadow_counts
  local halves = p.shadow_halves[R.index] or { count = 0, bytes = 0, by_place = {} }
  local other = halves.by_place[place]
  p.shadow_halves[R.index] = halves
  if other and other.kind == half.kind then return end -- a batch that is run again
  if not other then
    keep_half(halves, place, half)
    counts[half.kind] = counts[half.kind] + 1
    return
  end
  local kind = half.reason == other.reason and K.host.is_same(half.bytes, other.bytes) and "same" or "different"
  halves.count, halves.bytes, halves.by_place[place] = halves.count - 1, halves.bytes - other.size, nil
  counts[other.kind], counts[kind] = counts[other.kind] - 1, counts[kind] + 1
end

-- What a shadow rule wanted of an entry, beside the one that it would replace; `would`, `did` nil: it wanted nothing.
local function compare(K, p, R, place, would, did)
  local c, counts = p.c, R.shadow_counts
  local is_same = K.host.shadow_record(c, R, would, did)
  local kind = is_same and "same" or not did and "only_would" or not would and "only_did" or "different"
  if type(place) == "string" and not (would and did) then
    local wish = would or did
    count_half(K, p, R, place, { kind = kind, bytes = K.host.wish_effects(c, wish), reason = reason_of(wish) })
  else
    counts[kind] = counts[kind] + 1
  end
  counts.effects = counts.effects + (would and would.count or 0)
end

-- ── the batch ───────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Takes the effects of shadow rules out; those that stay close up.
local function take_out(K, c)
  local kept = 0
  for n = 0, c.effect_count - 1 do
    local effect = c.effects[n]
    if not K.rules[effect.rule].is_shadow then
      if kept < n then c.effects[kept] = effect end
      kept = kept + 1
    end
  end
  c.effect_count = kept
end

local function settle_groups(K, p)
  local groups = gather(K, p)
  for _, R in ipairs(K.shadows) do
    for _, group in ipairs(groups) do
      local would, did = group.wishes[R.index], R.replaces and group.wishes[R.replaces.index]
      if (would or did) and not group.is_retry then compare(K, p, R, group.place, would, did) end
    end
  end
end

-- The same of a batch in which nothing fired and nothing failed, as most are: without a table for each entry, and in one
-- loop, which LuaJIT compiles. (One inside of it, over the few effects of an entry, would mostly be left at once: such are
-- given up, and what is around them with them.)
local function settle_runs(K, p, R)
  local c, mine, of = p.c, R.index, R.replaces and R.replaces.index
  local would, did = { count = 0 }, { count = 0 } -- of the entry `at`
  local at, count = NONE, c.effect_count
  for n = 0, count do
    local i, rule = NONE, 0
    if n < count then
      local effect = c.effects[n]
      i, rule = effect.entry, effect.rule
    end
    if i ~= at then
      if (would.count > 0 or did.count > 0) and not is_retry(c, at) then
        compare(K, p, R, at, would.count > 0 and would or nil, did.count > 0 and did or nil)
      end
      at, would.count, did.count = i, 0, 0
    end
    local wish = rule == mine and would or rule == of and did or nil
    if wish then
      if wish.count == 0 then wish.entry, wish.first = i, n end
      wish.count = wish.count + 1
    end
  end
end

---The batch is done: what shadow rules want becomes records, which are written with it.
function shadow.settle(K, p)
  local c = p.c
  p.shadow_halves = p.shadow_halves or {}
  K.host.order(c)
  if p.watched or c.fired_count > 0 then
    settle_groups(K, p)
  else
    for _, R in ipairs(K.shadows) do settle_runs(K, p, R) end
  end
  take_out(K, c)
end

return shadow
