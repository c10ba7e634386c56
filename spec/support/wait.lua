-- wait.lua: wait for a fact, never for a time.
--
--   local wait = require "spec.support.wait"
--   wait.until_true(function() return client:call("XLEN", "offers") == 3 end, 5, "three offers")
local ffi = require "ffi"

-- Declared again for each state; the same declaration twice is no error.
ffi.cdef [[
  struct spec_timespec { long seconds; long nanoseconds; };
  int clock_gettime(int clock, struct spec_timespec *now);
  int nanosleep(const struct spec_timespec *pause, struct spec_timespec *rest);
]]

local wait = {}
local POLL_S = 0.004
local CLOCK_MONOTONIC = 1
local at = ffi.new("struct spec_timespec")

-- Seconds on a clock that only goes forward, with a fraction.
function wait.now()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, at)
  return tonumber(at.seconds) + tonumber(at.nanoseconds) / 1e9
end

-- For the pauses between two looks at a fact, and for faults that last a while. Not a way to wait
-- for something.
function wait.sleep(seconds)
  local pause = ffi.new("struct spec_timespec", math.floor(seconds), math.floor(seconds % 1 * 1e9))
  ffi.C.nanosleep(pause, nil)
end

local function shown(value)
  local text = tostring(value)
  return #text > 300 and text:sub(1, 300) .. "…" or text
end

-- Calls `fact` every few milliseconds until it returns something true, and returns that. After
-- `deadline_s` (default 5) it raises an error that tells `what` was waited for and the last value,
-- or the last error: a fact that raises is not there yet.
function wait.until_true(fact, deadline_s, what)
  local limit = wait.now() + (deadline_s or 5)
  while true do
    local ok, value = pcall(fact)
    if ok and value then
      return value
    end
    if wait.now() >= limit then
      error(("waited %gs for %s; last %s: %s"):format(deadline_s or 5, what or "a fact",
        ok and "value" or "error", shown(value)), 2)
    end
    wait.sleep(POLL_S)
  end
end

-- The value becomes `expected`; the error tells the last one that was seen instead.
function wait.until_equal(expected, get, deadline_s, what)
  local last
  local ok, why = pcall(wait.until_true, function()
    last = get()
    return last == expected
  end, deadline_s, what)
  if not ok then
    error(("%s (expected %s, got %s)"):format(why, shown(expected), shown(last)), 2)
  end
  return last
end

return wait
