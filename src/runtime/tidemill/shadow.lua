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

-- The group of an entry: what each rule wanted of it, by the rule's index. Effects of one entry mostly come in a row.
local function group_of(groups, c, i)
  if groups.last_entry == i then return groups.last end
  local place = place_of(c, i)
  local group = groups.by_place[place]
  if not group then
    group = { at = entry.position(c, i), place = place, is_retry = is_retry(c, i), wishes = {} }
    groups.by_place[place], groups[#groups + 1] = group, group
  end
  groups.last_entry, groups.last = i, group
  return group
end

-- What a rule wanted of an entry: { entry, effects = their numbers, failure }.
local function wish_of(groups, c, i, index)
  local group = group_of(groups, c, i)
  local wish = group.wishes[index]
  if not wish then
    wish = { entry = i, effects = {} }
    group.wishes[index] = wish
  end
  return wish
end

-- Functions made in a loop's function would keep it from being compiled: hence by themselves.
local function is_before(a, b) return a.at < b.at end

local function sort_by_ordinal(effects, numbers)
  table.sort(numbers, function(a, b) return effects[a].ordinal < effects[b].ordinal end)
end

-- All that shadow rules, and those that they would replace, wanted in a batch: a list of groups in the order of their entries.
local function gather(K, p)
  local c, rules = p.c, K.rules
  local groups = { by_place = {} }
  for n = 0, c.effect_count - 1 do
    local effect = c.effects[n]
    if effect.len > 0 and rules[effect.rule].is_watched then
      local numbers = wish_of(groups, c, effect.entry, effect.rule).effects
      numbers[#numbers + 1] = n
    end
  end
  for _, failure in ipairs(p.watched or {}) do
    local wish = wish_of(groups, c, failure.entry, failure.rule.index)
    wish.failure = wish.failure or failure
  end
  if c.is_unordered ~= 0 or p.watched then table.sort(groups, is_before) end
  return groups
end

-- ── comparing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

local function array_head(count)
  if count < 16 then return string.char(0x90 + count) end
  if count < 65536 then return string.char(0xdc, math.floor(count / 256), count % 256) end
  return string.char(0xdd, math.floor(count / 16777216), math.floor(count / 65536) % 256, math.floor(count / 256) % 256, count % 256)
end

local NOTHING, ONE = array_head(0), array_head(1)

-- The effects of a wish as one msgpack array: of an emit { stream, event }, of a command its words.
local function bytes_of(K, c, wish)
  if not wish or #wish.effects == 0 then return NOTHING end
  local numbers = wish.effects
  if #numbers == 1 then return ONE .. K.host.effect_value(c, numbers[1]) end -- mostly
  if c.is_unordered ~= 0 then sort_by_ordinal(c.effects, numbers) end
  local parts = { array_head(#numbers) }
  for n, number in ipairs(numbers) do parts[n + 1] = K.host.effect_value(c, number) end
  return table.concat(parts)
end

local function key_of(K, c, wish)
  if not wish then return "" end
  if #wish.effects > 0 then return K.host.effect_key(c, wish.effects[1]) end
  return wish.failure and wish.failure.key or ""
end

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
  local c = p.c
  local counts = R.shadow_counts
  local record = {
    entry = would and would.entry or did.entry, rule = R, would = bytes_of(K, c, would), did = bytes_of(K, c, did),
    key = would and key_of(K, c, would) or key_of(K, c, did), failure = would and would.failure, did_failure = did and did.failure,
  }
  record.is_same = reason_of(would) == reason_of(did) and K.host.is_same(record.would, record.did)
  local kind = record.is_same and "same" or not did and "only_would" or not would and "only_did" or "different"
  if type(place) == "string" and not (would and did) then
    count_half(K, p, R, place, { kind = kind, bytes = would and record.would or record.did, reason = reason_of(would or did) })
  else
    counts[kind] = counts[kind] + 1
  end
  counts.effects = counts.effects + (would and #would.effects or 0)
  K.host.shadow_record(c, record)
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

---The batch is done: what shadow rules want becomes records, which are written with it.
function shadow.settle(K, p)
  p.shadow_halves = p.shadow_halves or {}
  local groups = gather(K, p)
  for _, R in ipairs(K.shadows) do
    for _, group in ipairs(groups) do
      local would, did = group.wishes[R.index], R.replaces and group.wishes[R.replaces.index]
      if (would or did) and not group.is_retry then compare(K, p, R, group.place, would, did) end
    end
  end
  take_out(K, p.c)
end

return shadow
