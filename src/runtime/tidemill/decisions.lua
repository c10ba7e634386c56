-- decisions.lua: why rules did what they did, for the share of events that is recorded (setting `record`; `tidemill explain`).
--
--   event ──> is it recorded? ──no──> its rules, as ever
--                  └──yes──> its rules, each with a decision open ──> the batch is done ──> one record: decision_pack.lua
--
-- A decision is filled in by what the kernel does anyway: `attach` puts itself around those of its functions that know
-- something worth keeping (fail_event, save_state, keep …).
--
-- Promises:
-- (1) With share 0 nothing is attached: not a test of this runs anywhere.
-- (2) Which events are recorded follows from stream and ID alone, and which timers and windows from what they are and when they
--     are due: so it is the same after a retry, and on every worker.
-- (3) What is kept belongs to the try that counts. The records of a batch go with the batch (kernel.lua: reset), and a decision
--     begins anew whenever its rule is called from the start.
-- (4) A rule cannot change what was kept: of what it may hold in its hands, the bytes are taken at once.
-- (5) What is kept of a batch is bounded. Beyond that, values are left out, and the record says so.
local bit = require "bit"
local call = require "tidemill.call"
local entry = require "tidemill.entry"
local ffi = require "tidemill.cdef"
local pack = require "tidemill.pack"
local decision_pack = require "tidemill.decision_pack"
local pairs = require("tidemill.each").pairs
local shape = require "tidemill.shape"
local windows = require "tidemill.windows"

local decisions = {}

local FIRED = entry.FIRED
local KEPT_MOST = 8388608 -- bytes that are kept of one batch (5)
local WHYS_MOST = 100     -- sentences of one condition that are kept ready
local SHORT = 16          -- bytes of a text beyond that
local WORD = 4294967296
local PER_WORD = 1 / WORD
local SIGN = -2147483648
local RARE = 0.05         -- a share below which compiling does not pay

-- ── which ones ──────────────────────────────────────────────────────────────────────────────────────────────────────────

local floor, bxor, lshift, rshift, rol, tobit = math.floor, bit.bxor, bit.lshift, bit.rshift, bit.rol, bit.tobit

-- Robert Jenkins' hash of 32 bits. Of adding and shifting only, which is what LuaJIT can do in 32 bits.
local function mixed(a)
  a = tobit(tobit(a + 0x7ed55d16) + lshift(a, 12))
  a = bxor(bxor(a, 0xc761c23c), rshift(a, 19))
  a = tobit(tobit(a + 0x165667b1) + lshift(a, 5))
  a = bxor(tobit(a + 0xd3a2646c), lshift(a, 9))
  a = tobit(tobit(a + 0xfd7046c5) + lshift(a, 3))
  return bxor(bxor(a, 0xb55a4f09), rshift(a, 16))
end

---Where the hash of the IDs of a stream (or the due times of a rule) begins.
function decisions.seed(name)
  local h = 0
  for n = 1, #name do h = mixed(tobit(h + name:byte(n))) end
  return h
end

---Is it recorded? A function of where the hash begins (seed), and `ms` and `seq` of an ID, as doubles of any size.
---@return fun(seed: number, ms: number, seq: number): boolean
function decisions.selector(share)
  local threshold = share * WORD - WORD / 2 -- with the sign's bit turned over, bits compare as if they had no sign
  return function(seed, ms, seq)
    local high = floor(ms * PER_WORD)
    local h = mixed(bxor(seed, tobit(ms - high * WORD)))
    h = mixed(bxor(h, tobit(high), rol(tobit(seq - floor(seq * PER_WORD) * WORD), 16)))
    return bxor(h, SIGN) < threshold
  end
end

-- ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local NOTHING = { entry = -1 }

-- The one that was opened last is asked for most, and most entries have none and stand behind all that have.
local function decision_of(p, i, R)
  local records = p.records
  if not records then return nil end
  local last = records.last
  if last.entry == i and last.rule == R then return last end
  if i > records.newest and i < FIRED then return nil end
  return records.at[decision_pack.place(i, R.index)]
end

-- The records of a batch are listed in the order in which they began: that of the batch. A record is the list of its decisions.
local function record_of(p, i)
  local records = p.records
  if not records then
    records = { at = {}, list = {}, count = 0, last = NOTHING, newest = -1 }
    p.records, p.record_bytes = records, 0
  end
  local place = decision_pack.place(i, 0)
  local record = records.at[place]
  if not record then
    record = { false, entry = i, count = 0, reason = nil, message = nil }
    records.at[place], records.count = record, records.count + 1
    records.list[records.count] = record
    if i < FIRED and i > records.newest then records.newest = i end
  end
  return record
end

-- A decision of nothing yet, in the place of an earlier try's (3). They are listed in the order of the rules. All fields that most
-- have are named here, so that it never grows: else that would be half of what a decision costs.
local function open(p, i, R)
  local record, records = record_of(p, i), p.records
  local place = decision_pack.place(i, R.index)
  local before = records.at[place]
  local number = before and before.number or record.count + 1
  local d = {
    rule = R, entry = i, number = number, began = nil, us = nil, outcome = nil, key = nil, why = nil, has_state = false,
    is_rich = false, before = nil, version = nil, after = nil, effect_count = 0, first_effect = nil, last_effect = nil,
  }
  record[number], records.at[place], records.last = d, d, d
  if number > record.count then record.count = number end
  return d
end

-- Its rule is called from the start once more (3).
local function begin_anew(d)
  d.reasons, d.reason_count, d.lookups, d.lookup_count, d.timers, d.window = nil, nil, nil, nil, nil, nil
  d.has_state, d.before, d.version, d.after, d.is_undone, d.outcome, d.is_late = false, nil, nil, nil, nil, nil, nil
end

-- ── keeping ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- A value's bytes, or how many they were (4) (5).
local function kept(p, bytes)
  p.record_bytes = p.record_bytes + #bytes
  if #bytes > decision_pack.VALUE_MOST or p.record_bytes > KEPT_MOST then return #bytes end
  return bytes
end

local function kept_value(p, v)
  local bytes, why = pack.string(v)
  if bytes then return kept(p, bytes) end
  return { fault = why }
end

-- What a slot holds at the clock of the event; nil: no state.
local function kept_state(p, slot)
  if slot.len == 0 or (slot.expiry_ms ~= 0 and slot.expiry_ms <= p.c.clock_ms) then return nil end
  return kept(p, ffi.string(slot.bytes + slot.head, slot.len - slot.head))
end

local function keep_state_before(p, d, slot)
  d.has_state, d.before = true, kept_state(p, slot)
  d.version = d.before and slot.version or nil
end

-- A text of bounded length; beyond (5) hardly any of it.
local function kept_text(p, text)
  text = decision_pack.cut(text)
  p.record_bytes = p.record_bytes + #text
  return p.record_bytes > KEPT_MOST and text:sub(1, SHORT) or text
end

local function kept_command(p, words)
  local bytes = decision_pack.command(words)
  p.record_bytes = p.record_bytes + #bytes
  return p.record_bytes > KEPT_MOST and decision_pack.command { words[1] } or bytes
end

local function add(d, name, count, item)
  local n = (d[count] or 0) + 1
  d[count], d.is_rich = n, true
  if n > decision_pack.LIST_MOST then return end
  if n == 1 then d[name] = {} end
  d[name][n] = item
end

local function pending_timers(p, pending)
  if not pending or pending.count == 0 then return nil end
  local list = {}
  for n = 1, math.min(pending.count, decision_pack.LIST_MOST) do
    local due, payload = pending.dues[n], pending.payloads[n]
    list[n] = { name = pending.names[n], due = due >= 0 and due or nil, payload = payload and kept(p, payload) or nil }
  end
  return list, pending.count
end

-- ── why an event was passed over ────────────────────────────────────────────────────────────────────────────────────────

local function shown(v)
  if type(v) == "string" then return '"' .. v .. '"' end
  return type(v) == "table" and "a table" or tostring(v)
end

-- "add" or "pay"
local function shown_set(allowed)
  local texts = {}
  for v in pairs(allowed) do texts[#texts + 1] = shown(v) end
  table.sort(texts)
  local last = table.remove(texts)
  return #texts > 0 and table.concat(texts, ", ") .. " or " .. last or last
end

local function why_of(condition, v)
  local name = condition[1]
  if v == nil then return ("the event has no field '%s', which `when` asks for"):format(name) end
  condition.text = condition.text or (", and `when` asks for %s"):format(shown_set(condition[2]))
  return name .. " is " .. shown(v) .. condition.text
end

-- The same few values come again and again: their sentences are kept ready.
local function known_why(condition, v)
  local whys = condition.whys
  local why = whys and whys[v]
  if why then return why end
  why = why_of(condition, v)
  if not whys or condition.why_count == WHYS_MOST then
    whys = {}
    condition.whys, condition.why_count = whys, 0
  end
  whys[v], condition.why_count = why, condition.why_count + 1
  return why
end

-- The event's tokens are still there.
local function why_not(K, p, R)
  if R.filter then
    local c = p.c
    for n = 1, #R.filter do
      local condition = R.filter[n]
      local at, v = K.host.field(c, condition[1], #condition[1]), nil
      if at >= 0 then v = (shape.build(c.event_tokens.list, at)) end
      if v == nil or not condition[2][v] then
        if type(v) == "string" then return (known_why(condition, v)) end
        return (why_of(condition, v))
      end
    end
  end
  return K.WHEN_SAYS_NO
end

-- ── around the kernel's functions ───────────────────────────────────────────────────────────────────────────────────────

-- CPU time since then: of a clock that is now and then put right, and may then step back (clock.h).
local function spent_us(K, began)
  local us = K.cpu_us() - began
  return us > 0 and us or 0
end

-- What a decision says of a handler that failed: nothing of what it did was kept.
local function fail(K, p, d, reason, message, traceback, key)
  local R, c = d.rule, p.c
  d.outcome, d.reason = "failed", reason
  d.message, d.traceback = kept_text(p, message), traceback and kept_text(p, traceback)
  d.key, d.is_skipped = key or d.key, R.on_error == "skip" or nil
  d.timers, d.timer_count, d.window = nil, nil, nil
  if R.uses_state and key and not d.has_state then
    local slot = K.host.find(c, R.id, key, #key)
    if slot ~= nil then keep_state_before(p, d, slot) end
  end
  d.is_undone, d.is_rich, d.after = true, true, nil
  if d.began and not d.is_task then d.us = spent_us(K, d.began) end
end

local function wrap_failing(K)
  local fail_event, tell_late, undecodable = K.fail_event, K.tell_late, K.undecodable_entry
  function K:fail_event(p, R, i, reason, message, traceback, key, task)
    local d = decision_of(p, i, R)
    self.mark.rule = 0
    if d then fail(self, p, d, reason, message, traceback, key) end
    return (fail_event(self, p, R, i, reason, message, traceback, key, task))
  end
  function K:tell_late(p, R, i, key, time, watermark)
    local d = decision_of(p, i, R)
    if d then
      d.key, d.is_late, d.is_rich, d.late_ms = key, true, true, watermark - time
      if not R.on_late then d.outcome = "late" end
    end
    return tell_late(self, p, R, i, key, time, watermark)
  end
  function K:undecodable_entry(p, i)
    if self.is_recorded(p, i) then
      local record = record_of(p, i)
      record.reason, record.message = p.c.is_future ~= 0 and "future" or "decode", ffi.string(p.c.fault)
    end
    return undecodable(self, p, i)
  end
end

-- What is kept here is not the rule's doing: neither its time nor its memory pays for it.
local function wrap_keeping(K)
  local save_state, keep = K.save_state, K.keep
  function K:save_state(p, c, R, slot, ctx, i, key, task)
    local d = decision_of(p, i, R)
    if not d then return (save_state(self, p, c, R, slot, ctx, i, key, task)) end
    self.mark.rule = 0
    keep_state_before(p, d, slot)
    d.key = key
    self.mark.rule = R.index
    if save_state(self, p, c, R, slot, ctx, i, key, task) then return true end
    self.mark.rule = 0
    d.after = kept_state(p, slot)
  end
  function K:keep(p, c, R, slot, record, ctx, i, key, task)
    local d = decision_of(p, i, R)
    if not d then return (keep(self, p, c, R, slot, record, ctx, i, key, task)) end
    self.mark.rule = 0
    local timers, timer_count = pending_timers(p, call.pending)
    local window = record and windows.describe(self, c, R, record, call.now)
    if window then
      window.before = window.before and kept_value(p, window.before)
      window.after = kept_value(p, rawget(ctx, "window"))
    end
    self.mark.rule = R.index
    if keep(self, p, c, R, slot, record, ctx, i, key, task) then return true end
    d.timers, d.timer_count, d.window, d.key, d.outcome = timers, timer_count, window, key, "ran"
    d.is_rich = d.is_rich or timers ~= nil or window ~= nil
    if d.began and not d.is_task then d.us = spent_us(self, d.began) end
    return false
  end
end

local function wrap_asking(K)
  local ask, host_reason, host_refused = K.ask, K.host.reason, K.host.is_refused
  function K:ask(p, task, question)
    local d = decision_of(p, task.entry, task.rule)
    if d then
      question.lookup = { command = kept_command(p, question.argv or { "ctx.timer.get", question.timer }) }
      add(d, "lookups", "lookup_count", question.lookup)
    end
    return ask(self, p, task, question)
  end
  K.answered = function(p, lookup, answer, refusal)
    lookup.refusal = refusal
    if refusal == nil then lookup.answer = kept_value(p, answer) end
  end
  K.host.reason = function(R, text)
    local p = call.partition
    local d = decision_of(p, p.c.at_entry, R)
    if d then add(d, "reasons", "reason_count", kept_text(p, text)) end
    if host_reason then return host_reason(R, text) end
  end
  K.host.is_refused = function(p, R, ordinal)
    local is_refused = host_refused(p, R, ordinal)
    local d = is_refused and decision_of(p, p.c.at_entry, R)
    if d then d.refused, d.is_rich = (d.refused or 0) + 1, true end
    return is_refused
  end
end

-- A turn of a task: its first, or behind an answer.
local function wrap_turns(K)
  local advance = K.advance
  local function over(p, task, d, began, ...)
    d.us = d.us + spent_us(K, began)
    if task.span then -- only now it is known what sessions and sliding windows began with
      local fired = p.c.fired[task.entry - FIRED]
      fired.start_ms, fired.stop_ms = task.span.start, task.span.stop
    end
    return ...
  end
  K.advance = function(_, p, task)
    local d = decision_of(p, task.entry, task.rule)
    if not d then return advance(K, p, task) end
    if not task.co then begin_anew(d) end
    if not d.is_task then d.is_task, d.us = true, 0 end
    d.key = task.key
    return over(p, task, d, K.cpu_us(), advance(K, p, task))
  end
end

---Makes a new kernel record `share` of the events: above 0, up to 1. Before the steps of its rules are made.
---Then K has `selects`, for the loops of step.lua, and:
---  is_recorded(p, i)             an entry of a stream
---  record_rule(p, c, i, s, R)    as R.step, of a recorded event
---  recorded(p, c, i, s, rules)   all of a list
---  fires(p, R, k)                c.fired[k] is about to run
---  open_decision(p, i, R)        of a rule that fails without being called
---  write_records(p)              the batch is done
function decisions.attach(K, share)
  local selects, seeds = decisions.selector(share), {}
  K.selects, K.cpu_us = selects, K.host.cpu_about_us or function() return 0 end
  K.WHEN_SAYS_NO = "its function `when` said no"
  K.open_decision = open
  for _, R in ipairs(K.rules) do
    seeds[R.name] = decisions.seed(R.name)
    decision_pack.prepare(R)
  end

  K.is_recorded = function(p, i)
    local e = entry.at(p.c, i)
    local name = K.stream_names[e.stream]
    seeds[e.stream] = seeds[e.stream] or decisions.seed(name)
    return selects(seeds[e.stream], e.ms, tonumber(e.seq))
  end

  local function record_rule(p, c, i, s, R)
    local d, passed = open(p, i, R), R.passed
    d.began = K.cpu_us()
    R.step(p, c, i, s)
    if d.us == nil then d.us = spent_us(K, d.began) end
    if d.key == nil then d.key = call.key end
    if d.outcome then return end
    if R.passed > passed then
      d.outcome = "ran"
    elseif call.key == nil then
      d.outcome, d.why = "filtered", kept_text(p, why_not(K, p, R))
    end
  end
  K.record_rule = record_rule

  K.recorded = function(p, c, i, s, rules)
    for n = 1, #rules do
      record_rule(p, c, i, s, rules[n])
      c.clock_ms = c.entries[i].clock_ms
    end
  end

  -- Of a small share, what is around a rule's step is left to the interpreter: else every path through the batch loop would end in
  -- a copy of the step, and compiling those took 20 times as long as all records together.
  local switch = share < RARE and jit.off or jit.on
  for _, f in ipairs { record_rule, K.recorded, open, record_of, why_not, known_why, spent_us } do switch(f) end
  for _, f in ipairs(decision_pack.RARELY) do switch(f) end

  K.fires = function(p, R, k)
    local e = p.c.fired[k].entry
    if selects(seeds[R.name], e.ms, tonumber(e.seq)) then open(p, FIRED + k, R).began = K.cpu_us() end
  end

  K.write_records = function(p) return decision_pack.write(K, p) end
  wrap_failing(K)
  wrap_keeping(K)
  wrap_asking(K)
  wrap_turns(K)
end

return decisions
