-- mutant_spec.lua: shows that the oracle would notice. An engine without its fence, and one that reads `ctl` before it WATCHes
-- it, must fail in the scenario that each was made for, and the engine as it is must pass the very same scenario: the same
-- program (make VARIANT=faults), stopped at the same named place (src/base/fault.h).
local files = require "spec.support.files"
local wait = require "spec.support.wait"
local world = require "spec.chaos.world"

local SEED = tonumber(os.getenv("TIDEMILL_SEED")) or os.time()
local BUILD = os.getenv("TIDEMILL_FAULTS_BUILD") or "build/faults"
local EVENTS = 4000

describe("the oracle #slow", function()
  local w, pause

  setup(function()
    local log = files.temp_folder() .. "/make"
    local ok = os.execute(("env -u LD_PRELOAD make VARIANT=faults BUILD=%s %s/tidemill >%s 2>&1"):format(BUILD, BUILD, log))
    assert(ok == true or ok == 0, files.read_file(log))
  end)

  before_each(function()
    w = world.create { seed = SEED, binary = BUILD .. "/tidemill", engines = 0 }
    pause, w.patience_s = w.folder .. "/pause", 3
  end)

  after_each(function()
    w:close()
  end)

  local function is_paused()
    return files.exists(pause .. ".reached")
  end

  local function go_on()
    assert(os.remove(pause .. ".reached"))
  end

  local function start(place, mutant, at)
    return w:start(place, { TIDEMILL_FAULT = mutant or false, TIDEMILL_PAUSE = at and at .. "=" .. pause or false })
  end

  -- An owner that works, and goes on with more events when `pause` is asked for.
  local function start_owner(mutant, at)
    local owner = start(1, mutant, at)
    w.allowance = EVENTS / 2
    w:flow_on(EVENTS / 8)
    return owner
  end

  -- A fact for w:flow: nothing was committed for half a second. Else a window that closes may be committed between the WATCH and
  -- the EXEC of a mutant's long transaction, of which Redis reads 16 KiB at a time, and save it.
  local function is_at_rest()
    local commits, since
    return function()
      local now = w:commits()
      if now ~= commits then
        commits, since = now, wait.now()
      end
      return wait.now() > since + 0.5
    end
  end

  -- The owner stands still, having read ctl, before it sends MULTI … EXEC; a standby takes over and does all of the work; then
  -- the zombie wakes up and sends it.
  local function zombie(mutant)
    local owner = start_owner(mutant, "before_exec")
    files.write_file(pause, "")
    w.allowance = EVENTS
    w:flow(is_paused, "a commit")
    start(2, mutant)
    w:flow(function() return w:is_done() end, "the standby to have done all")
    w:flow(is_at_rest(), "the last windows to close")
    go_on()
    wait.until_true(function() return owner:stderr():find(" standby ", 1, true) end, 10, "the zombie to stand by")
    w.allowance = EVENTS + 300 -- a mutant owner does not see that its ctl was overwritten: this writes it again
    return w:finish()
  end

  -- The EXEC of a broken link is on its way while its engine, on a new link, has read ctl and is about to take the partition
  -- anew; it lands right then.
  local function late_exec(mutant)
    start_owner(mutant, "between_read_and_take")
    files.write_file(pause, "")
    w.proxy:hold { with = "XGROUP" }
    w.allowance = EVENTS
    w:flow(is_paused, "the acquire that follows the broken link")
    w.proxy:release()
    w:flow(function() return w.proxy:count().landed == 1 end, "the late EXEC to land")
    go_on()
    return w:finish()
  end

  local function passes(differences)
    assert.same({}, differences, "TIDEMILL_SEED=" .. SEED)
  end

  local function fails(differences)
    assert.truthy(#differences > 0, ("the mutant got through: TIDEMILL_SEED=%d"):format(SEED))
    io.stderr:write("  the oracle says: ", differences[1], "\n")
  end

  it("passes a zombie that wakes up before its EXEC", function()
    passes(zombie(nil))
  end)

  it("fails a zombie without a fence", function()
    fails(zombie("no_fence"))
  end)

  it("fails a zombie that reads ctl before WATCH", function()
    fails(zombie("read_before_watch"))
  end)

  it("passes an EXEC of a broken link that lands while the partition is taken anew", function()
    passes(late_exec(nil))
  end)

  it("fails an acquire that reads ctl before WATCH", function()
    fails(late_exec("read_before_watch"))
  end)
end)
