-- testing_timers.lua: the queues of timers and windows of the test kit: what rules/timers.c is in the engine, all of it here.
--
-- A queue is a list in the order of due time, key, name. What a batch does can be taken back: each step notes its opposite.
local ffi = require "tidemill.cdef"
local timers = require "tidemill.timers"

local queues = {}

local WALL, EVENT, WINDOW, KINDS = timers.WALL, timers.EVENT, timers.WINDOW, timers.KINDS
local NONE = -1
local FIRED_ROOM = 1024 -- more than a batch fires

local Queues = {}
Queues.__index = Queues

local function is_before(a, b)
  if a.due ~= b.due then return a.due < b.due end
  if a.key ~= b.key then return a.key < b.key end
  return a.name < b.name
end

function Queues:refresh(rule, kind)
  local first = self.lists[rule * KINDS + kind][1]
  self.nexts[rule * KINDS + kind] = first and first.due or math.huge
  local wall = math.huge
  for r = 1, self.rules do wall = math.min(wall, self.nexts[r * KINDS + WALL]) end
  self.c.next_wall_ms = wall
end

function Queues:insert(rule, kind, timer)
  local list = self.lists[rule * KINDS + kind]
  local low, high = 1, #list + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(list[middle], timer) then low = middle + 1 else high = middle end
  end
  table.insert(list, low, timer)
  self:refresh(rule, kind)
end

-- Takes one out; nil when it is not there.
function Queues:remove(rule, kind, key, name)
  local list = self.lists[rule * KINDS + kind]
  for n, timer in ipairs(list) do
    if timer.key == key and timer.name == name then
      table.remove(list, n)
      self:refresh(rule, kind)
      return timer
    end
  end
end

function Queues:note(undo, rule, kind, timer) self.log[#self.log + 1] = { undo, rule, kind, timer } end

local function kinds_of(kind) return kind == WINDOW and { WINDOW } or { WALL, EVENT } end

function Queues:cancel(rule, kind, key, name)
  for _, one in ipairs(kinds_of(kind)) do
    local timer = self:remove(rule, one, key, name)
    if timer then self:note("insert", rule, one, timer) end
  end
end

function Queues:set(rule, kind, key, name, due, payload)
  self:cancel(rule, kind, key, name)
  local timer = { due = due, key = key, name = name, payload = payload }
  self:insert(rule, kind, timer)
  self:note("remove", rule, kind, timer)
end

function Queues:find(rule, kind, key, name)
  for _, one in ipairs(kinds_of(kind)) do
    for _, timer in ipairs(self.lists[rule * KINDS + one]) do
      if timer.key == key and timer.name == name then return timer.due end
    end
  end
  return NONE
end

-- Fills a `struct fired` or `struct timer` with the texts of a timer, which `self` keeps.
local function put_texts(self, into, timer)
  self.texts[#self.texts + 1] = timer
  into.key, into.key_len, into.name, into.name_len = timer.key, #timer.key, timer.name, #timer.name
  into.payload, into.payload_len = timer.payload, timer.payload and #timer.payload or 0
end

function Queues:fire(rule, kind, index, before, clock_ms)
  local c, timer = self.c, self.lists[rule * KINDS + kind][1]
  if not timer then return -1 end
  self:remove(rule, kind, timer.key, timer.name)
  self:note("insert", rule, kind, timer)
  local k = c.fired_count
  c.fired_count = k + 1
  self:prepare(k, index, kind, timer, before, clock_ms, 0)
  return k
end

---Puts what fires where the kernel finds it.
function Queues:prepare(k, index, kind, timer, before, clock_ms, attempts)
  local fired = self.c.fired[k]
  ffi.fill(fired, ffi.sizeof "struct fired")
  fired.entry.ms, fired.entry.clock_ms, fired.entry.only, fired.entry.attempts = timer.due, clock_ms, index, attempts
  local hash = 0
  for n = 1, #timer.key do hash = (hash * 31 + timer.key:byte(n)) % 4294967296 end
  for n = 1, #timer.name do hash = (hash * 31 + timer.name:byte(n)) % 4294967296 end
  fired.entry.seq, fired.before, fired.kind = hash, before, kind
  put_texts(self, fired, timer)
end

function Queues:discard()
  for n = #self.log, 1, -1 do
    local undo, rule, kind, timer = unpack(self.log[n])
    if undo == "insert" then self:insert(rule, kind, timer) else self:remove(rule, kind, timer.key, timer.name) end
  end
  self.log, self.texts, self.c.fired_count = {}, {}, 0
end

function Queues:commit() self.log, self.texts, self.c.fired_count = {}, {}, 0 end

---What is pending, in order: { due, key, name, payload } of the timers of a rule, both clocks; `payload` as bytes.
function Queues:list(rule)
  local all = {}
  for kind = WALL, EVENT do
    for _, timer in ipairs(self.lists[rule * KINDS + kind]) do
      all[#all + 1] = {
        due = timer.due, key = timer.key, name = timer.name, payload = timer.payload, clock = kind == WALL and "wall" or "event",
      }
    end
  end
  table.sort(all, is_before)
  return all
end

---What the kernel calls.
function Queues:functions()
  local f = {}
  function f.timer_set(_, rule, kind, key, _, name, _, due, payload) self:set(rule, kind, key, name, due, payload) end
  function f.timer_cancel(_, rule, kind, key, _, name) self:cancel(rule, kind, key, name) end
  function f.timer_find(_, rule, kind, key, _, name) return self:find(rule, kind, key, name) end
  function f.timer_ask() error "the kit knows all timers" end
  function f.fire(_, rule, kind, index, before, clock_ms) return self:fire(rule, kind, index, before, clock_ms) end
  function f.timer_peek(_, rule, kind, n, into)
    local timer = self.lists[rule * KINDS + kind][n + 1]
    if not timer then return false end
    into.due_ms = timer.due
    put_texts(self, into, timer)
    return true
  end
  return f
end

---@param c ffi.cdata*  the kit's `struct bridge`
---@param rules number  how many
function queues.create(c, rules)
  local self = setmetatable({ c = c, rules = rules, lists = {}, log = {}, texts = {} }, Queues)
  self.nexts = ffi.new("double[?]", (rules + 1) * KINDS)
  self.fired = ffi.new("struct fired[?]", FIRED_ROOM)
  c.nexts, c.fired, c.fired_count = self.nexts, self.fired, 0
  for q = 0, (rules + 1) * KINDS - 1 do self.lists[q], self.nexts[q] = {}, math.huge end
  c.next_wall_ms, c.next_idle_ms, c.proven_ms = math.huge, math.huge, math.huge
  return self
end

return queues
