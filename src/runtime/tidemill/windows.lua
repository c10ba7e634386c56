-- windows.lua: the tables of open windows, and their closing (design 3.3; what rules write: window.lua).
--
-- They are kept like states, in the hash `…:windows:RULE`, and indexed by when they are due in the queue of kind WINDOW:
--
--   kind       field of the hash            value                              index: key, name -> due
--   tumbling   "START:KEY"                  the window's table                 KEY, "START" -> its end
--   sliding    "START:KEY" (a pane)         the pane's table                   KEY, "sliding" -> the end of the next window
--              "sliding:KEY" (its head)     { next end, size, pane, pane, … }
--   session    "session:KEY"                { { start, stop, table }, … }      KEY, "session" -> the first stop
--   count      "count:KEY"                  { events, first, last, table }     none: closed by the event that fills it
--
-- A window closes by what it says itself, whatever the rule has been edited to since: an index entry's name says its kind.
--
-- A pane is as long as the step; a window is merged from its panes when it closes, so an event costs one pane whatever the size
-- (Li et al., No Pane, No Gain, SIGMOD Record 34, 2005).
--
-- An event works on a `record`: slot and field, table, and what its kind needs to write it back. (1) Nothing is written before
-- the handler has returned; then `pack` may still refuse, and `store` may not.
local entry = require "tidemill.entry"
local timers = require "tidemill.timers"

local windows = {}

local WINDOWS = 32768 -- rules/state.h: STATE_WINDOWS
local WINDOW = timers.WINDOW
local VERSION = 1
local STARTS_KEPT = 64

-- ── slots ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function find(K, c, R, field) return K.host.find(c, R.id + WINDOWS, field, #field) end

-- True: it is not here, and now wanted.
local function is_missing(K, c, R, field)
  if find(K, c, R, field) ~= nil then return false end
  K.host.want(c, R.id + WINDOWS, field, #field)
  return true
end

local function kept(K, c, slot)
  if slot.len == 0 then return nil end
  return (K.read_state(c, slot))
end

local function put(K, c, slot, value)
  if value == nil then
    if slot.len > 0 then K.host.put(c, slot, nil, 0, 0, 0, 0) end
    return
  end
  local len = assert(K.pack_state(0, VERSION, value))
  K.host.put(c, slot, K.packed, len, K.STATE_HEAD, 0, VERSION)
end

-- Returns when it is due.
local function schedule(K, c, R, key, name, due)
  K.host.timer_set(c, R.id, WINDOW, key, #key, name, #name, due, nil, 0)
  return due
end

-- The text of a window's start; few are open at a time.
local starts, start_count = {}, 0

local function text_of(start)
  local text = starts[start]
  if text then return text end
  if start_count == STARTS_KEPT then starts, start_count = {}, 0 end
  text = ("%.0f"):format(start)
  starts[start], start_count = text, start_count + 1
  return text
end

-- ── kinds ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- Each has, for events:
--   want(K, c, R, key, time)                        true: something is not here, and is wanted now
--   enter(K, c, R, record, key, time, watermark)    true: record.table is the window's; false: late; nil: something is not here
--   value(record, table)                            what is packed; nil: nothing is kept
--   store(K, c, R, record, key)                     after the value was put: the index; when it is due, if that is new
--   describe(R, record, time, kept)                 start, stop, and the table that was kept before
-- and for closing:
--   want_close(K, c, R, key, name, due)
--   read(K, c, R, key, name, span)                  the tables of the window, to be merged; nil: nothing is there
--   consume(K, c, R, key, name, span)               takes it away, and schedules what follows

local tumbling, sliding, session, count = {}, {}, {}, {}
local KINDS = { tumbling = tumbling, sliding = sliding, session = session, count = count }

function tumbling.want(K, c, R, key, time)
  return is_missing(K, c, R, text_of(time - time % R.window.size) .. ":" .. key)
end

function tumbling.enter(K, c, R, record, key, time, watermark)
  local size = R.window.size
  local start = time - time % size
  if start + size <= watermark then return false end
  local slot = find(K, c, R, text_of(start) .. ":" .. key)
  if slot == nil then return nil end
  local t = kept(K, c, slot)
  record.slot, record.is_new, record.start, record.due, record.table = slot, t == nil, start, start + size, t or {}
  return true
end

function tumbling.value(_, t) return t end

function tumbling.store(K, c, R, record, key)
  if record.is_new then return schedule(K, c, R, key, text_of(record.start), record.due) end
end

function tumbling.describe(_, record, _, t) return record.start, record.due, t end

function tumbling.want_close(K, c, R, key, name) return is_missing(K, c, R, name .. ":" .. key) end

function tumbling.read(K, c, R, key, name)
  local t = kept(K, c, find(K, c, R, name .. ":" .. key))
  return t and { t }
end

function tumbling.consume(K, c, R, key, name) put(K, c, find(K, c, R, name .. ":" .. key), nil) end

-- ── sliding ──

local function pane_field(pane, key) return text_of(pane) .. ":" .. key end

function sliding.want(K, c, R, key, time)
  local field = pane_field(time - time % R.window.step, key)
  local slot = find(K, c, R, field)
  if slot ~= nil and slot.len > 0 then return false end
  local is_one = is_missing(K, c, R, field)
  return is_missing(K, c, R, "sliding:" .. key) or is_one
end

function sliding.enter(K, c, R, record, key, time, watermark)
  local size, step = R.window.size, R.window.step
  local pane = time - time % step
  if pane + size <= watermark then return false end
  local slot = find(K, c, R, pane_field(pane, key))
  if slot == nil then return nil end
  local t = kept(K, c, slot)
  record.slot, record.is_new, record.table = slot, t == nil, t or {}
  if t then return true end
  local head = find(K, c, R, "sliding:" .. key)
  if head == nil then return nil end
  record.head, record.pane = head, pane
  record.due = pane + step -- the first window that the pane is in, and that has not closed
  if record.due <= watermark then record.due = watermark - watermark % step + step end
  return true
end

sliding.value = tumbling.value

function sliding.describe(R, _, time, t)
  local pane = time - time % R.window.step
  return pane, pane + R.window.step, t
end

local FIRST_PANE = 3 -- of a head

function sliding.store(K, c, R, record, key)
  if not record.is_new then return end
  local head = kept(K, c, record.head) or { math.huge }
  if record.due < head[1] then head[1] = schedule(K, c, R, key, "sliding", record.due) end
  head[2] = R.window.size
  head[math.max(#head + 1, FIRST_PANE)] = record.pane
  put(K, c, record.head, head)
  return record.due
end

-- The panes of the window that ends at `due`, in order.
local function panes_of(head, due)
  local panes = {}
  for n = FIRST_PANE, #head do
    if head[n] < due and head[n] >= due - head[2] then panes[#panes + 1] = head[n] end
  end
  table.sort(panes)
  return panes
end

function sliding.want_close(K, c, R, key, _, due)
  if is_missing(K, c, R, "sliding:" .. key) then return true end
  local head, some = kept(K, c, find(K, c, R, "sliding:" .. key)), false
  for _, pane in ipairs(head and panes_of(head, due) or {}) do some = is_missing(K, c, R, pane_field(pane, key)) or some end
  return some
end

function sliding.read(K, c, R, key, _, span)
  local head, list = kept(K, c, find(K, c, R, "sliding:" .. key)), {}
  if not head then return nil end
  span.start = span.stop - head[2]
  for _, pane in ipairs(panes_of(head, span.stop)) do
    list[#list + 1] = kept(K, c, find(K, c, R, pane_field(pane, key)))
  end
  return list[1] and list
end

function sliding.consume(K, c, R, key, _, span)
  local slot = find(K, c, R, "sliding:" .. key)
  local head = kept(K, c, slot)
  if not head then return end
  local step = R.window.step or head[2] -- no kind but this one has a step: edited since
  local left, first = { 0, head[2] }, math.huge
  for n = FIRST_PANE, #head do
    local pane = head[n]
    if pane > span.stop - head[2] then
      left[#left + 1], first = pane, math.min(first, pane)
    else
      local old = find(K, c, R, pane_field(pane, key))
      if old ~= nil then put(K, c, old, nil) end -- it was in this window, so it was wanted
    end
  end
  if not left[FIRST_PANE] then return put(K, c, slot, nil) end
  left[1] = schedule(K, c, R, key, "sliding", math.max(span.stop - span.stop % step, first - first % step) + step)
  put(K, c, slot, left)
end

-- ── session ──

function session.want(K, c, R, key) return is_missing(K, c, R, "session:" .. key) end

function session.enter(K, c, R, record, key, time, watermark)
  local gap = R.window.gap
  local slot = find(K, c, R, "session:" .. key)
  if slot == nil then return nil end
  local own, list = { time, time + gap, nil }, {}
  local all = kept(K, c, slot) or {}
  for n = 1, #all do
    local one = all[n]
    if one[1] < time + gap and time < one[2] then -- oldest first: an earlier one is merged with a later
      own[1], own[2] = math.min(own[1], one[1]), math.max(own[2], one[2])
      if own[3] then own[3] = R.merge(own[3], one[3]) else own[3] = one[3] end
      if type(own[3]) ~= "table" then
        error(("%s: `merge` must return a table, it returned a %s"):format(R.merge_at, type(own[3])), 0)
      end
    else
      list[#list + 1] = one
    end
  end
  if not own[3] then
    if time + gap <= watermark then return false end
    own[3] = {}
  end
  list[#list + 1] = own
  table.sort(list, function(a, b) return a[1] < b[1] end)
  record.slot, record.own, record.list, record.table = slot, own, list, own[3]
  return true
end

function session.value(record, t)
  record.own[3] = t
  return record.list
end

local function first_stop(list)
  local first = math.huge
  for n = 1, #list do first = math.min(first, list[n][2]) end
  return first
end

function session.store(K, c, R, record, key) return schedule(K, c, R, key, "session", first_stop(record.list)) end

function session.describe(_, record, _, all)
  local own, list = record.own, {}
  for n = 1, #(all or {}) do
    if all[n][1] < own[2] and own[1] < all[n][2] then list[#list + 1] = all[n][3] end
  end
  return own[1], own[2], list[2] and list or list[1]
end

session.want_close = session.want

-- The session that ends at `due`, and the others.
local function session_at(K, c, R, key, due)
  local all, found, others = kept(K, c, find(K, c, R, "session:" .. key)) or {}, nil, {}
  for n = 1, #all do
    if all[n][2] <= due and not found then found = all[n] else others[#others + 1] = all[n] end
  end
  return found, others
end

function session.read(K, c, R, key, _, span)
  local found = session_at(K, c, R, key, span.stop)
  if not found then return nil end
  span.start = found[1]
  return { found[3] }
end

function session.consume(K, c, R, key, _, span)
  local _, others = session_at(K, c, R, key, span.stop)
  put(K, c, find(K, c, R, "session:" .. key), others[1] and others or nil)
  if others[1] then schedule(K, c, R, key, "session", first_stop(others)) end
end

-- ── count ──

function count.want(K, c, R, key) return is_missing(K, c, R, "count:" .. key) end

function count.enter(K, c, R, record, key, time)
  local slot = find(K, c, R, "count:" .. key)
  if slot == nil then return nil end
  local value = kept(K, c, slot) or { 0, time, time, {} }
  value[1], value[2], value[3] = value[1] + 1, math.min(value[2], time), math.max(value[3], time)
  record.slot, record.value, record.table = slot, value, value[4]
  record.span = value[1] >= R.window.count and { start = value[2], stop = value[3] } or nil
  return true
end

function count.value(record, t)
  if record.span then return nil end
  record.value[4] = t
  return record.value
end

function count.store() end

function count.describe(_, record, _, t) return record.value[2], record.value[3], t and t[4] end

-- ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

---How a rule's events find their window (see `enter` above).
function windows.enter_of(R) return KINDS[R.window.kind].enter end

-- The kind of a window in the index.
local function kind_of(name) return KINDS[name] or tumbling end

---Wants what a task needs. True: something is missing.
function windows.want(K, c, R, task)
  if task.span then return kind_of(task.name).want_close(K, c, R, task.key, task.name, task.span.stop) end
  return KINDS[R.window.kind].want(K, c, R, task.key, task.now)
end

---Wants what the closing of a window needs.
function windows.want_close(K, c, R, key, name, due) return kind_of(name).want_close(K, c, R, key, name, due) end

---Runs the handler of an event that has entered its window.
function windows.run_in(R, record, event, ctx)
  rawset(ctx, "window", record.table)
  R.on_event(event, ctx)
  if record.span then R.on_window(record.span, ctx) end
end

---The event of a task.
function windows.run_event(K, c, task, event, ctx)
  local R = task.rule
  local record = {}
  local is_in = R.enter(K, c, R, record, task.key, task.now, task.watermark)
  if not is_in then
    task.is_late = true
    if R.on_late then return R.on_late(event, ctx) end
    return
  end
  task.record = record
  return windows.run_in(R, record, event, ctx)
end

---Where an event at `time` went, for people: { kind, start, stop, before }, `before` what is kept of it: of the pane, where a
---window slides; of the sessions that have become one, an array when there were several.
function windows.describe(K, c, R, record, time)
  local kind = R.window.kind
  local start, stop, before = KINDS[kind].describe(R, record, time, kept(K, c, record.slot))
  return { kind = kind, start = start, stop = stop, before = before }
end

---Packs what the handler left in ctx.window. `bytes` false: nothing is kept.
---@return string|false|nil bytes, string|nil why  nil: it cannot be kept
function windows.pack(K, R, record, ctx)
  local t = rawget(ctx, "window")
  if type(t) ~= "table" then return nil, ("ctx.window must be a table, it is a %s"):format(type(t)) end
  local value = KINDS[R.window.kind].value(record, t)
  if value == nil then return false end
  local len, why = K.pack_state(0, VERSION, value)
  if not len then return nil, "the window cannot be kept: " .. why end
  if len > R.limits.state_bytes then
    return nil, ("the window of this key is %d bytes, more than %s allows"):format(len, R.limits.setting.state_kb)
  end
  return K.string(K.packed, len)
end

---Writes it back. (1) Returns when it is due to close, if that is new.
function windows.store(K, c, R, record, key, bytes)
  if bytes then
    K.host.put(c, record.slot, bytes, #bytes, K.STATE_HEAD, 0, VERSION)
  elseif record.slot.len > 0 then
    K.host.put(c, record.slot, nil, 0, 0, 0, 0)
  end
  return KINDS[R.window.kind].store(K, c, R, record, key)
end

-- ── closing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

---The times of a window that fired, by its name in the queue and when it was due; of a letter by its text "START-STOP".
function windows.span(name, due, is_retry)
  if is_retry then
    local start, stop = name:match "^(%d+)%-(%d+)$"
    return { start = tonumber(start) or due, stop = tonumber(stop) or due }
  end
  return { start = tonumber(name) or due, stop = due } -- of a kind whose name says no start: when it is read
end

-- What a letter keeps of a window: its table, or, as an array, the tables that it would be merged from. (So a table that is an array
-- itself is put into one.)
local function is_array(bytes)
  local first = bytes:byte() or 0
  return (first >= 0x90 and first <= 0x9f) or first == 0xdc or first == 0xdd
end

local function packed(K, v)
  local len = K.pack_value(v)
  return len and K.string(K.packed, len) or ""
end

local function payload_of(K, list)
  if list[2] then return packed(K, list) end
  local bytes = packed(K, list[1])
  return is_array(bytes) and packed(K, list) or bytes
end

---The tables of a window in a letter.
function windows.tables_of(K, payload)
  local v = payload and K.unpack(payload) or {}
  if type(v) ~= "table" then return { {} } end
  if not is_array(payload or "") then return { v } end
  local list = {}
  for n = 1, #v do list[n] = v[n] end
  return list[1] and list or { {} }
end

---What a window has that may not be closed by its rule, because that took the worker down: as a letter keeps it.
function windows.payload(K, c, task)
  local list = kind_of(task.name).read(K, c, task.rule, task.key, task.name, task.span)
  return list and payload_of(K, list) or ""
end

---Runs `on_window` of a task. In its coroutine, as `merge` is the rule's own.
function windows.run_close(K, c, task, ctx)
  local R, list = task.rule, task.tables
  if not list then
    list = kind_of(task.name).read(K, c, R, task.key, task.name, task.span)
    if not list then return end
  end
  local t = list[1]
  if list[2] and not R.merge then error("the panes of this window cannot be merged: the rule has no `merge` any more", 0) end
  for n = 2, #list do
    t = R.merge(t, list[n])
    if type(t) ~= "table" then
      error(("%s: `merge` must return a table, it returned a %s"):format(R.merge_at, type(t)), 0)
    end
  end
  task.payload = payload_of(K, { t })
  rawset(ctx, "window", t)
  task.event = task.span
  if task.kind == WINDOW then -- else it is a letter that is tried again, whose name says it
    local fired = c.fired[task.entry - entry.FIRED]
    fired.start_ms, fired.stop_ms = task.span.start, task.span.stop
  end
  return R.on_window(task.span, ctx)
end

---What is told of a closed window (a letter, a shadow rule's record) says when it began and ended.
function windows.tell_span(c, task)
  local fired = c.fired[task.entry - entry.FIRED]
  fired.start_ms, fired.stop_ms = task.span.start, task.span.stop
end

---Takes away a window that has closed, also when `on_window` failed, and schedules what follows.
function windows.consume(K, c, task)
  local R = task.rule
  return kind_of(task.name).consume(K, c, R, task.key, task.name, task.span)
end

return windows
