-- What a supervisor decides, without processes: who gets a partition (tags.h), whether a worker is stuck (watch.h), and whether
-- a death is an event's fault (evidence.h).
local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/supervisor/tags.h", "src/supervisor/watch.h", "src/supervisor/evidence.h")

local SEGV, KILL, ABRT = 11, 9, 6

describe("partitions and workers", function()
  local tags

  before_each(function() tags = ffi.new "struct tags" end)
  after_each(function() C.tags_fini(tags) end)

  local function add(name, workers)
    return C.tags_add(tags, name, #name, C.LATER_NONE, workers).worker
  end

  it("meet where the fewest are, and stay together", function()
    assert.same({ 0, 1, 0, 1, 0 }, { add("a", 2), add("b", 2), add("", 2), add("d", 2), add("e", 2) })
    assert.same({ 2, 2, 0 }, { add("f", 3), add("g", 3), add("h", 1) })
    assert.equal(4, tonumber(C.tags_count(tags, 0)))
    assert.equal(1, C.tags_find(tags, "b", 1).worker)
    assert.equal(0, C.tags_find(tags, "", 0).worker)
    assert.is_true(C.tags_find(tags, "bb", 2) == nil)
  end)
end)

describe("a watch", function()
  local w

  before_each(function() w = ffi.new "struct watch" end)

  local function look(rule, serial, beats, cpu_ms)
    return tonumber(C.watch_look(w, rule, serial, beats, cpu_ms, 1000))
  end

  it("calls it a hang when one rule on one event uses more CPU than it may", function()
    assert.equal(C.WATCH_FINE, look(2, 7, 1, 500))
    assert.equal(C.WATCH_FINE, look(2, 7, 1, 1499))
    assert.equal(C.WATCH_HANG, look(2, 7, 1, 1500))
  end)

  it("begins anew with every event, rule and return", function()
    for serial = 1, 100 do
      assert.equal(C.WATCH_FINE, look(2, serial, 1, serial * 900))
    end
    assert.equal(C.WATCH_FINE, look(3, 100, 1, 90900))
    assert.equal(C.WATCH_FINE, look(0, 100, 2, 91800))
    assert.equal(C.WATCH_FINE, look(3, 100, 2, 92700))
  end)

  it("is patient with what uses no CPU", function()
    for _ = 1, 100 do
      assert.equal(C.WATCH_FINE, look(2, 7, 1, 500))
    end
  end)

  it("finds a loop that does not turn, whatever it does, much later", function()
    assert.equal(C.WATCH_FINE, look(0, 0, 5, 100))
    assert.equal(C.WATCH_FINE, look(0, 0, 5, 10099))
    assert.equal(C.WATCH_STUCK, look(0, 0, 5, 10100))
    assert.equal(C.WATCH_FINE, look(0, 0, 6, 10100))
  end)
end)

describe("evidence", function()
  local suspects, blame

  before_each(function()
    suspects, blame = ffi.new "struct suspects", ffi.new "struct blame"
  end)

  -- A death at event 1-`seq`, in the rule of that number.
  local function judge(signal, options)
    options = options or {}
    local note = ffi.new "struct note"
    note.mark.rule, note.ms, note.seq, note.attempts = options.rule or 1, 1, options.seq or 5, options.attempts or 0
    note.partition, note.stream = "-", "orders"
    local name, version = options.name or "r", options.version or "v1"
    local death = ffi.new("struct death", { note = note, rule = name, version = version, signal = signal,
      hang_ms = options.hang_ms or 0 })
    if not C.evidence_judge(suspects, death, blame) then
      return nil
    end
    return ffi.string(blame.reason), ffi.string(blame.message)
  end

  it("is a signal of its own doing, at once, and says what happened", function()
    local reason, message = judge(SEGV)
    assert.same({ "crash", "the worker died of signal 11 (Segmentation fault) in this rule" }, { reason, message })
    assert.same({ "-", "orders", "r", "v1", 1, 5, 0 }, { ffi.string(blame.partition), ffi.string(blame.stream),
      ffi.string(blame.rule), ffi.string(blame.version), blame.ms, tonumber(blame.seq), blame.attempts })
    for _, signal in ipairs { ABRT, 4, 7, 8 } do
      assert.equal("crash", (judge(signal)))
    end
  end)

  it("is a rule that did not come back", function()
    local reason, message = judge(KILL, { hang_ms = 1000 })
    assert.same({ "hang", "ran longer than 1000 ms of CPU without end (limits.hard_ms)" }, { reason, message })
  end)

  it("is a crash when a worker that was dying of it used up the time of its rule meanwhile", function()
    local reason, message = judge(ABRT, { hang_ms = 1000 })
    assert.same({ "crash", "the worker died of signal 6 (Aborted) in this rule" }, { reason, message })
  end)

  it("is never a death outside of a rule", function()
    assert.is_nil(judge(SEGV, { rule = 0 }))
    assert.is_nil(judge(SEGV, { name = "" })) -- a number that means no rule
  end)

  it("is any other death only the third time at the same event, rule and version", function()
    assert.is_nil(judge(KILL))
    assert.is_nil(judge(KILL, { seq = 6 }))
    assert.is_nil(judge(KILL, { attempts = 1 }))
    assert.is_nil(judge(KILL, { version = "v2" }))
    assert.is_nil(judge(KILL, { name = "q" }))
    assert.is_nil(judge(0))
    local reason, message = judge(KILL)
    assert.same({ "crash", "the worker died in this rule 3 times, at last of signal 9 (Killed)" }, { reason, message })
  end)

  it("forgets old suspicions for new ones", function()
    judge(KILL)
    judge(KILL)
    for seq = 100, 100 + C.SUSPECTS_MOST do
      assert.is_nil(judge(KILL, { seq = seq }))
    end
    assert.is_nil(judge(KILL))
  end)
end)
