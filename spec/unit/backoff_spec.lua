local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/base/backoff.h")

local LOWEST, HIGHEST = 0, 0xffffffff

-- The longest or shortest waits after failures in a row: `random` that leaves no rest, or the most.
local function waits(backoff, count, pick)
  local list = {}
  for i = 1, count do
    list[i] = tonumber(C.backoff_next_ms(backoff, pick(i)))
  end
  return list
end

local function longest(least_ms, most_ms, count)
  -- Among many random numbers the longest wait shows.
  local best = {}
  for random = 0, 4000 do
    local b = ffi.new("struct backoff", { least_ms = least_ms, most_ms = most_ms })
    for i, ms in ipairs(waits(b, count, function() return random end)) do
      best[i] = math.max(best[i] or 0, ms)
    end
  end
  return best
end

describe("backoff", function()
  it("doubles up to the most and stays there", function()
    assert.same({ 20, 40, 80, 160, 320, 640, 1000, 1000, 1000 }, longest(20, 1000, 9))
  end)

  it("never waits less than half of what it may", function()
    local b = ffi.new("struct backoff", { least_ms = 20, most_ms = 1000 })
    assert.same({ 10, 20, 40, 80, 160, 320, 500, 500 }, waits(b, 8, function() return LOWEST end))
  end)

  it("starts again from the least after a success", function()
    local b = ffi.new("struct backoff", { least_ms = 20, most_ms = 1000 })
    waits(b, 6, function() return HIGHEST end)
    C.backoff_reset(b)
    assert.same({ 10 }, waits(b, 1, function() return LOWEST end))
  end)

  it("stays in its bounds for any random number and any number of failures", function()
    local seed = os.time()
    math.randomseed(seed)
    local b = ffi.new("struct backoff", { least_ms = 1, most_ms = 2000 })
    for _, ms in ipairs(waits(b, 10000, function() return math.random(0, 2 ^ 31 - 1) end)) do
      assert(ms >= 1 and ms <= 2000, "seed " .. seed)
    end
  end)

  it("takes limits up to the largest numbers without running over", function()
    local most = ffi.new("uint64_t", -1)
    local b = ffi.new("struct backoff", { least_ms = 1, most_ms = most })
    local last = ffi.new("uint64_t", 0)
    for _ = 1, 200 do
      local ms = C.backoff_next_ms(b, LOWEST)
      assert(ms >= last, "a wait became shorter")
      last = ms
    end
    assert(last >= most / 2)
  end)
end)
