-- engine.lua: the kernel's host when the host is the engine: the functions of bridge.c, as FFI where they are hot.
local ffi = require "tidemill.cdef"
local clocks = require "tidemill.clocks"
local environment = require "tidemill.environment"
local firing = require "tidemill.firing"
local kernel = require "tidemill.kernel"
local limits = require "tidemill.limits"
local pack = require "tidemill.pack"
local rulebook = require "tidemill.rulebook"

ffi.cdef [[
struct bridge_layout { uint32_t view, entry, fired, effect, slot, token, mark, out_at, fault_at, clock_at, entry_stream_at; };
extern const struct bridge_layout bridge_layout;
void bridge_note(struct bridge *, uint32_t);
int32_t bridge_decode(struct bridge *, uint32_t);
struct state_slot *bridge_find(struct bridge *, uint32_t, const char *, size_t);
void bridge_want(struct bridge *, uint32_t, const char *, size_t);
int32_t bridge_state_tokens(struct bridge *, struct state_slot *);
void bridge_put(struct bridge *, struct state_slot *, const void *, uint32_t, uint32_t, double, uint32_t);
void bridge_emit(struct bridge *, uint32_t, uint32_t, const char *, size_t, const void *, size_t);
void bridge_discard(struct bridge *);
void bridge_letter(struct bridge *, uint32_t, const char *, const char *, const char *, const char *, const char *,
                   const char *, size_t, const char *, size_t);
void bridge_decision(struct bridge *, uint32_t, const void *, size_t, uint32_t, const char *, const char *);
int32_t bridge_field(struct bridge *, const char *, size_t);
bool bridge_is_refused(struct bridge *, uint32_t, uint32_t, uint32_t);
void bridge_effect(struct bridge *, uint32_t, uint32_t, const void *, size_t);
void bridge_note_key(struct bridge *, const char *, size_t);
bool msgpack_is_equal(const void *, size_t, const void *, size_t);
void bridge_order(struct bridge *);
struct shadow_side { uint32_t rule, first, count; const char *reason, *message, *traceback, *key; size_t key_len; };
int bridge_shadow(struct bridge *, uint32_t, const struct shadow_side *, const struct shadow_side *);
const struct buf *bridge_shadow_effects(struct bridge *, const struct shadow_side *);
void bridge_timer_set(struct bridge *, uint32_t, uint32_t, const char *, size_t, const char *, size_t, double, const void *,
                      size_t);
void bridge_timer_cancel(struct bridge *, uint32_t, uint32_t, const char *, size_t, const char *, size_t);
double bridge_timer_find(struct bridge *, uint32_t, uint32_t, const char *, size_t, const char *, size_t);
void bridge_timer_ask(struct bridge *, uint32_t, uint32_t, const char *, size_t, const char *, size_t);
bool bridge_timer_peek(struct bridge *, uint32_t, uint32_t, uint32_t, struct timer *);
int32_t bridge_fire(struct bridge *, uint32_t, uint32_t, uint32_t, uint32_t, double);
void bridge_seen(struct bridge *, uint32_t, uint32_t, double);
uint32_t version_hash(const char *, size_t);
void tell_line(const char *, const char *, const char *, const char *);
void tell_failing(const char *, const char *, bool, const char *, const char *);
void tell_fed_back(const char *, const char *, const char *);
double bridge_clock(void);
double bridge_cpu_us(void);
double bridge_cpu_about_us(void);
]]

local C = ffi.C
local engine = {}

-- C and Lua must mean the same bytes.
local function check_layout()
  local c = C.bridge_layout
  local function same(what, ours, theirs)
    assert(ours == theirs, ("cdef.lua and the engine differ in %s: %d and %d bytes"):format(what, ours, theirs))
  end
  same("struct bridge", ffi.sizeof "struct bridge", c.view)
  same("struct batch_entry", ffi.sizeof "struct batch_entry", c.entry)
  same("struct fired", ffi.sizeof "struct fired", c.fired)
  same("struct effect", ffi.sizeof "struct effect", c.effect)
  same("struct state_slot", ffi.sizeof "struct state_slot", c.slot)
  same("struct token", ffi.sizeof "struct token", c.token)
  same("struct mark", ffi.sizeof "struct mark", c.mark)
  same("bridge.out", ffi.offsetof("struct bridge", "out"), c.out_at)
  same("bridge.fault", ffi.offsetof("struct bridge", "fault"), c.fault_at)
  same("bridge.clock_ms", ffi.offsetof("struct bridge", "clock_ms"), c.clock_at)
  same("batch_entry.stream", ffi.offsetof("struct batch_entry", "stream"), c.entry_stream_at)
end

local would_side, did_side = ffi.new "struct shadow_side", ffi.new "struct shadow_side"

local NOTHING = { first = 0, count = 0 }

-- A wish of shadow.lua.
local function fill_side(side, R, wish)
  wish = wish or NOTHING
  local failure = wish.failure
  local key = failure and failure.key or ""
  side.rule, side.first, side.count, side.key, side.key_len = R and R.index or 0, wish.first, wish.count, key, #key
  side.reason, side.message = failure and failure.reason, failure and failure.message
  side.traceback = failure and failure.traceback
end

local function shadow_record(c, R, would, did)
  fill_side(would_side, R, would)
  fill_side(did_side, R.replaces, did)
  return C.bridge_shadow(c, (would or did).entry, would_side, did_side) ~= 0
end

local function wish_effects(c, wish)
  fill_side(would_side, nil, wish)
  local effects = C.bridge_shadow_effects(c, would_side)
  return ffi.string(effects.data, effects.len)
end

-- `c_functions` are those of bridge.c that take or give Lua values; `mark` is the address of what is running (sandbox/mark.h).
local function host_of(c_functions, mark)
  return {
    mark = ffi.cast("struct mark *", mark),
    note = C.bridge_note,
    decode = C.bridge_decode,
    find = C.bridge_find,
    want = C.bridge_want,
    state_tokens = C.bridge_state_tokens,
    put = C.bridge_put,
    discard = C.bridge_discard,
    emit = C.bridge_emit,
    effect = C.bridge_effect,
    note_key = C.bridge_note_key,
    order = C.bridge_order,
    is_same = function(a, b) return a == b or C.msgpack_is_equal(a, #a, b, #b) end,
    shadow_record = shadow_record,
    wish_effects = wish_effects,
    timer_set = C.bridge_timer_set,
    timer_cancel = C.bridge_timer_cancel,
    timer_find = C.bridge_timer_find,
    timer_ask = C.bridge_timer_ask,
    timer_peek = C.bridge_timer_peek,
    fire = C.bridge_fire,
    seen = C.bridge_seen,
    clock = C.bridge_clock,
    cpu_us = C.bridge_cpu_us,
    cpu_about_us = C.bridge_cpu_about_us,
    letter = function(c, i, rule, version, reason, message, traceback, key, payload)
      C.bridge_letter(c, i, rule, version, reason, message, traceback, key, #key, payload, #payload)
    end,
    decision = C.bridge_decision,
    field = C.bridge_field,
    is_refused = function(p, R, ordinal) return C.bridge_is_refused(p.c, p.c.at_entry, R.index, ordinal) end,
    log = C.tell_line,
    failing = function(R, is_failing, reason, message) C.tell_failing(R.name, R.version, is_failing, reason, message) end,
    fed_back = function(R, stream) C.tell_fed_back(R.name, R.version, stream) end,
    to_json = function(bytes, len) return c_functions.to_json(ffi.string(bytes, len)) end,
    check_command = function(c, argv) return c_functions.check_command(tonumber(ffi.cast("uintptr_t", c)), argv) end,
    request = function(c, argv) return c_functions.request(tonumber(ffi.cast("uintptr_t", c)), argv) end,
    answer = function(c, n) return c_functions.answer(tonumber(ffi.cast("uintptr_t", c)), n) end,
  }
end

-- nil, for the one in Lua, where the engine's functions are not to be seen: in a VM that a spec makes.
local function native_hash()
  if not pcall(function() return C.version_hash end) then return nil end
  return function(text) return tonumber(C.version_hash(text, #text)) end
end

---Loads the files of a folder (see rulebook.load). `call` runs the chunk of a file within limits.load_ms, `on_file` is told its
---name before. `settings`: the other limits.
function engine.load(files, untagged_alone, call, on_file, settings)
  -- LuaJIT's defaults are for scripts: the way of one event, with a handler, its constructor and the packing inlined, is
  -- longer than a trace may be, and many rules have more traces and machine code than fit.
  jit.opt.start("maxtrace=20000", "maxrecord=20000", "maxirconst=4000", "maxside=1000", "maxsnap=4000", "sizemcode=64",
    "maxmcode=65536")
  environment.seal_strings()
  engine.book = rulebook.load(files, {
    untagged_alone = untagged_alone,
    call = call,
    on_file = on_file,
    limits = settings,
    hash = native_hash(),
    print = function(rule, text) C.tell_line("info", rule, "", text) end,
  })
  return engine.book
end

---Makes the kernel for the loaded rules. `ids`: the numbers that their states are kept under, rule by rule.
function engine.start(settings, outputs, c_functions, mark, ids)
  check_layout()
  for index, R in ipairs(engine.book.rules) do R.id = ids[index] end
  engine.kernel = kernel.new(host_of(c_functions, mark), engine.book, settings)
  engine.kernel.outputs = outputs
  engine.partitions = {}
end

---@param address number  of the partition's bridge
---@return number id
function engine.open(address)
  local p = engine.kernel:open(ffi.cast("struct bridge *", address))
  local id = #engine.partitions + 1
  engine.partitions[id] = p
  return id
end

function engine.close(id) engine.partitions[id] = false end

---What the kernel knew of a partition's clocks is void.
function engine.forget(id) clocks.open(engine.kernel, engine.partitions[id]) end

---The partition reads a stream; `last_ms`: of the ID that it stands at (0: the start).
function engine.attend(id, stream, last_ms) clocks.attend(engine.kernel, engine.partitions[id], stream, last_ms) end

---What ctl says: the newest event time of a rule's stream; stream 0: its watermark.
function engine.seen(id, number, stream, ms)
  clocks.restore(engine.partitions[id], engine.book.rules[number], stream, ms)
end

---The position's clock at which something fires, when no entry comes; inf: nothing.
function engine.wake(id) return firing.wake(engine.kernel, engine.partitions[id]) end

---The watermark that the last batch left, or, with `tail_ms` above 0, that of this clock at the tail of all streams. nil: the
---rule has none, or none yet.
function engine.watermark(id, number, tail_ms)
  local clock = engine.partitions[id] and engine.partitions[id].clocks[number]
  local ms = clock and (tail_ms > 0 and clocks.foresee(clock, tail_ms) or clock.watermark) or -math.huge
  return ms > -math.huge and ms or nil
end

---Which queues of a rule are to fire: those of its timers, and that of its windows.
function engine.timer_kinds(number)
  local R = engine.book.rules[number]
  return R.on_timer ~= nil, R.window ~= nil and R.window.kind ~= "count"
end

---@return number number, number readers  how many rules read it
function engine.stream(name)
  local number = engine.kernel:stream(name)
  return number, #engine.kernel.lists[number].rules
end

---Do rules read a stream of this name?
function engine.reads(name)
  for _, R in ipairs(engine.book.rules) do
    for _, matches in ipairs(R.matchers) do
      if matches(name) then return true end
    end
  end
  return false
end

---The only entry of the next batch: this rule fails on it without being called (kernel.lua: run_alone).
function engine.blame(id, rule, reason, message)
  local p = engine.partitions[id]
  p.alone = p.alone or { blames = {} }
  p.alone.blames[rule] = { reason = reason, message = message }
end

---The only entry of the next batch: it is given to the first `most` rules of its list alone.
function engine.limit(id, most)
  local p = engine.partitions[id]
  p.alone = p.alone or { blames = {} }
  p.alone.most = most
end

---The numbers of the rules that run on the events of a stream, in order.
function engine.rules_of(stream)
  local numbers = {}
  for n, R in ipairs(engine.kernel.lists[stream].rules) do numbers[n] = R.index end
  return numbers
end

---Batches as usual again.
function engine.together(id) engine.partitions[id].alone = nil end

---Runs the batch of a partition. `count` -1: goes on with it; else a new one (kernel:begin), of `stream` alone when that is
---above 0.
function engine.run(id, count, stream)
  if count >= 0 then engine.kernel:begin(engine.partitions[id], count, stream > 0 and stream or nil) end
  local status, processed, stopped = engine.kernel:run(engine.partitions[id])
  return status, processed, stopped
end

function engine.refuse(id, has_refusals) engine.partitions[id].refused = has_refusals or nil end

function engine.counts(number)
  local R = engine.book.rules[number]
  if not engine.kernel then return 0, 0, 0, 0, false, false, false, 0 end
  return R.failed, R.skipped, R.passed + R.failed, R.fed_back, R.health.is_failing, R.asks, R.uses_state, R.late
end

---The counts of the rule's version before: they are of the rule.
function engine.inherit(number, failed, skipped, events, fed_back, late)
  local R = engine.book.rules[number]
  R.failed, R.skipped, R.passed, R.fed_back, R.late = failed, skipped, events - failed, fed_back, late
end

---What a shadow rule has come to: its effects, and how many records are the same, different,
---only its own, only the other's.
function engine.shadow_counts(number)
  local R = engine.book.rules[number]
  local counts = R.shadow_counts
  if not counts then return 0, 0, 0, 0, 0 end
  return counts.effects, counts.same, counts.different, counts.only_would, counts.only_did
end

function engine.inherit_shadow(number, effects, same, different, only_would, only_did)
  engine.book.rules[number].shadow_counts = {
    effects = effects, same = same, different = different, only_would = only_would, only_did = only_did,
  }
end

---The running time of rule `number` on one event, and what happens when it is over (see sandbox/limit.h).
function engine.rule_ms(number) return engine.book.rules[number].limits.rule_ms end

function engine.interrupt() return limits.interrupt(engine.kernel) end

---A Lua value as msgpack, for C.
engine.pack = pack.string

return engine
