-- engine.lua: the kernel's host when the host is the engine: the functions of bridge.c, as FFI where they are hot.
local ffi = require "tidemill.cdef"
local environment = require "tidemill.environment"
local kernel = require "tidemill.kernel"
local pack = require "tidemill.pack"
local rulebook = require "tidemill.rulebook"

ffi.cdef [[
struct bridge_layout { uint32_t view, entry, effect, slot, token, out_at, fault_at, clock_at, entry_stream_at; };
extern const struct bridge_layout bridge_layout;
int32_t bridge_decode(struct bridge *, uint32_t);
struct state_slot *bridge_find(struct bridge *, uint32_t, const char *, size_t);
void bridge_want(struct bridge *, uint32_t, const char *, size_t);
int32_t bridge_state_tokens(struct bridge *, struct state_slot *);
void bridge_put(struct bridge *, struct state_slot *, const void *, uint32_t, uint32_t, double);
void bridge_emit(struct bridge *, uint32_t, uint32_t, const char *, size_t, const void *, size_t);
void bridge_discard(struct bridge *);
void bridge_letter(struct bridge *, uint32_t, const char *, const char *, const char *, const char *, const char *,
                   const char *, size_t, const char *, size_t);
bool bridge_is_refused(struct bridge *, uint32_t, uint32_t, uint32_t);
void bridge_effect(struct bridge *, uint32_t, uint32_t, const void *, size_t);
void bridge_log(const char *, const char *, const char *);
double bridge_clock(void);
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
  same("struct effect", ffi.sizeof "struct effect", c.effect)
  same("struct state_slot", ffi.sizeof "struct state_slot", c.slot)
  same("struct token", ffi.sizeof "struct token", c.token)
  same("bridge.out", ffi.offsetof("struct bridge", "out"), c.out_at)
  same("bridge.fault", ffi.offsetof("struct bridge", "fault"), c.fault_at)
  same("bridge.clock_ms", ffi.offsetof("struct bridge", "clock_ms"), c.clock_at)
  same("batch_entry.stream", ffi.offsetof("struct batch_entry", "stream"), c.entry_stream_at)
end

-- `c_functions` are those of bridge.c that take or give Lua values.
local function host_of(c_functions)
  return {
    decode = C.bridge_decode,
    find = C.bridge_find,
    want = C.bridge_want,
    state_tokens = C.bridge_state_tokens,
    put = C.bridge_put,
    discard = C.bridge_discard,
    emit = C.bridge_emit,
    effect = C.bridge_effect,
    clock = C.bridge_clock,
    letter = function(c, i, rule, version, reason, message, traceback, key, payload)
      C.bridge_letter(c, i, rule, version, reason, message, traceback, key, #key, payload, #payload)
    end,
    is_refused = function(p, R, ordinal) return C.bridge_is_refused(p.c, p.c.at_entry, R.index, ordinal) end,
    log = C.bridge_log,
    to_json = function(bytes, len) return c_functions.to_json(ffi.string(bytes, len)) end,
    check_command = function(c, argv) return c_functions.check_command(tonumber(ffi.cast("uintptr_t", c)), argv) end,
    request = function(c, argv) return c_functions.request(tonumber(ffi.cast("uintptr_t", c)), argv) end,
    answer = function(c, n) return c_functions.answer(tonumber(ffi.cast("uintptr_t", c)), n) end,
  }
end

---Loads the files of a folder (see rulebook.load).
function engine.load(files, untagged_alone)
  -- LuaJIT's defaults are for scripts: the way of one event, with a handler, its constructor and the packing inlined, is
  -- longer than a trace may be, and many rules have more traces and machine code than fit.
  jit.opt.start("maxtrace=20000", "maxrecord=20000", "maxirconst=4000", "maxside=1000", "maxsnap=4000", "sizemcode=64",
    "maxmcode=65536")
  -- The heap is a few MB and turns over fast; collecting it half as often costs that much memory and saves a tenth of all time.
  collectgarbage("setpause", 400)
  environment.seal_strings()
  engine.book = rulebook.load(files, {
    untagged_alone = untagged_alone,
    print = function(rule, text) C.bridge_log("info", rule, text) end,
  })
  return engine.book
end

---Makes the kernel for the loaded rules.
function engine.start(limits, outputs, c_functions)
  check_layout()
  engine.kernel = kernel.new(host_of(c_functions), engine.book, limits)
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

function engine.stream(name) return engine.kernel:stream(name) end

---Do rules read a stream of this name?
function engine.reads(name)
  for _, R in ipairs(engine.book.rules) do
    for _, matches in ipairs(R.matchers) do
      if matches(name) then return true end
    end
  end
  return false
end

---Runs the batch of a partition. `count` above 0: a new one (kernel:begin), of `stream` alone when that is above 0.
function engine.run(id, count, stream)
  if count > 0 then engine.kernel.begin(engine.partitions[id], count, stream > 0 and stream or nil) end
  local status, processed, stopped = engine.kernel:run(engine.partitions[id])
  return status == "done", processed, stopped
end

function engine.refuse(id, has_refusals) engine.partitions[id].refused = has_refusals or nil end

function engine.counts(number)
  local R = engine.book.rules[number]
  return R.failed or 0, R.skipped or 0, R.asks or false, R.uses_state or false
end

---A Lua value as msgpack, for C.
engine.pack = pack.string

return engine
