-- chaos_spec.lua: whatever dies, at whatever moment, every count is exact at the end (design 4 and 9).
--
--   TIDEMILL_CHAOS_FAULTS=500   more faults than the 52 of CI
--   TIDEMILL_CHAOS_EVENTS=…     more or fewer events than 200,000
--   TIDEMILL_CHAOS_KINDS=…     only these, such as hang,reload_hang (spec/chaos/faults.lua)
--   TIDEMILL_SEED=…             the same events and the same row of faults again
local files = require "spec.support.files"
local faults = require "spec.chaos.faults"
local world = require "spec.chaos.world"

local SEED = tonumber(os.getenv("TIDEMILL_SEED")) or os.time()
local FAULTS = tonumber(os.getenv("TIDEMILL_CHAOS_FAULTS")) or 52
local EVENTS = tonumber(os.getenv("TIDEMILL_CHAOS_EVENTS")) or 200000
local KINDS = os.getenv("TIDEMILL_CHAOS_KINDS")
local DURABLE = { "appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0" }

if KINDS then
  faults.kinds = faults.named(KINDS)
end

local function say(...)
  io.stderr:write("  ", string.format(...), "\n")
end

local function describe_failure(differences)
  return ("TIDEMILL_SEED=%d: %s"):format(SEED, table.concat(differences, "\n"))
end

local function tell(w, letters)
  local more = w:tell_tallies()
  say("       letters: %d `crash`, %d `hang`, %d `unverified`%s", letters.crash, letters.hang, letters.unverified,
    more ~= "" and "; " .. more or "")
end

describe("chaos #slow", function()
  local w

  before_each(function()
    w = world.create { seed = SEED, redis = DURABLE }
    math.randomseed(SEED)
    w.draw = math.random
  end)

  after_each(function()
    w:close()
  end)

  local function survive(events, row, strike)
    local began = faults.now()
    local share = math.floor(events / (#row + 1))
    for i, kind in ipairs(row) do
      w.allowance = i * share
      w:flow_on(w.draw(share))
      if os.getenv("TIDEMILL_CHAOS_TELL") then
        say("%6.1f s  %-12s at %d of %d", faults.now() - began, kind, w:processed(), w.fed)
      end
      w.is_generous = true
      strike(kind)
      w.is_generous = false
    end
    w.allowance = math.max(events, w.fed)
    local differences, letters = w:finish()
    say("chaos: seed %d: %d events, survived %s; %.0f s", SEED, #w.oracle.events, faults.tell(row), faults.now() - began)
    tell(w, letters)
    local counts = w.proxy:count()
    say("       late EXECs: %d took effect, %d were fenced, %d met a dead Redis", counts.landed, counts.fenced, counts.lost)
    if w.torn then say("       Redis died in the middle of writing to its file %d times", w.torn) end
    assert.equal(0, #differences, describe_failure(differences))
    local most = faults.most_unverified(row)
    assert.is_true(letters.unverified <= most, ("%d letters `unverified`, at most %d allowed"):format(letters.unverified, most))
  end

  it("loses and doubles nothing, whatever dies", function()
    survive(EVENTS, faults.row(FAULTS, w.draw), function(kind)
      faults[kind](w)
    end)
  end)

  -- The oracle counts what survived; outputs, positions and events are in one file, so they survive together.
  it("is exact with respect to what survived, when Redis loses the tail of its file", function()
    local lost_bytes, lost_events = 0, 0
    local function lose_tail()
      local path = w.server.folder .. "/appendonlydir/"
      w.server:kill()
      local name = io.popen("ls " .. files.quote(path) .. "*.incr.aof"):read("*l")
      local size = #files.read_file(name)
      local cut = math.min(w.draw(30000), math.floor(size / 2))
      -- Redis 7.0 itself forgets to take back a transaction whose file ends in the middle of one of its commands: what was
      -- queued of it stays in the file, and the restart after the next one executes it. The cure is redis-check-aof --fix.
      os.execute(("truncate -s %d %s && yes | redis-check-aof --fix %s >/dev/null 2>&1"):format(size - cut, files.quote(name),
        files.quote(name)))
      w.server:launch()
      lost_bytes, lost_events = lost_bytes + cut, lost_events + w.oracle:forget_lost(w.server)
    end
    local row = faults.row(math.ceil(FAULTS / 4), w.draw, { "tail", "kill", "zombie", "tail", "hold_shortly" })
    survive(math.floor(EVENTS / 4), row, function(kind)
      return (kind == "tail" and lose_tail or faults[kind])(w)
    end)
    say("       lost with the tails: %d bytes, %d events", lost_bytes, lost_events)
  end)

  -- Letters go through the inbox one by one, each in a commit of its own, beside events that flow on.
  it("retries every letter once, whatever dies", function()
    w.allowance = 20000
    w:flow(function() return w:is_done() end, "all events of before the retry")
    local ids = {}
    for _, letter in ipairs(w.server:entries("tidemill:chaos:dlq")) do
      if letter.fields.reason ~= "decode" and letter.fields.reason ~= "unverified" then
        ids[#ids + 1] = letter.id
      end
    end
    w.server:call("DEL", "alist")
    w.server:call("SET", "mended", 1)
    local row = faults.row(math.ceil(FAULTS / 2), w.draw)
    local share = math.floor(#ids / #row)
    for i, kind in ipairs(row) do
      w:run("dlq", "retry", "--group", "chaos", unpack(ids, (i - 1) * share + 1, i == #row and #ids or i * share))
      local target = w:commits() + w.draw(share)
      w.allowance, w.is_generous = w.fed + 1000, true
      w:flow(function() return w:commits() >= target end, "retries")
      faults[kind](w)
    end
    w.allowance, w.is_generous = w.fed, false
    w:flow(function() return w.server:call("XLEN", "tidemill:chaos:inbox") == 0 end, "an empty inbox")
    local differences, letters = w:finish(w.oracle.differences_after_retry)
    say("chaos: seed %d: %d letters retried, survived %s", SEED, #ids, faults.tell(row))
    tell(w, letters)
    assert.equal(0, #differences, describe_failure(differences))
    assert.is_true(letters.unverified <= faults.most_unverified(row))
  end)
end)
