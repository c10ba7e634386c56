-- faults.lua: what can go wrong, one function a kind. Each returns when it has struck, so that what follows is the survival.
--
-- They are drawn from `world.draw`, so that a seed repeats them as far as the machine's timing allows.
local wait = require "spec.support.wait"

local faults = {}

local function is_taken_over(world, fence, commits)
  return function()
    local now = world:ctl("fence")
    return now and now ~= fence and world:commits() > commits
  end
end

-- The owner dies; the standby takes over when the lease has expired.
function faults.kill(world)
  local engine, place = world:wait_owner()
  engine:kill()
  world:start(place)
end

-- Both die: nobody is there for a while.
function faults.kill_all(world)
  for place, engine in pairs(world.engines) do
    engine:kill()
    world:start(place)
  end
end

-- The owner stops, past its lease; the standby takes over and works on; then the zombie wakes up in the middle of what it did.
function faults.zombie(world)
  local engine = world:wait_owner()
  local fence, commits = world:ctl("fence"), world:commits()
  engine:signal("STOP")
  world:flow(is_taken_over(world, fence, commits + 1), "a takeover from a stopped engine")
  engine:signal("CONT")
end

-- A clean stop: the lease is given back.
function faults.term(world)
  local engine, place = world:wait_owner()
  engine:signal("TERM"):expect(0, 5)
  world:start(place)
end

function faults.cut(world)
  world.proxy:cut()
end

-- An edit from the shell: the EXEC under way answers nil.
function faults.edit(world)
  world.server:call("HINCRBY", "tidemill:chaos:ctl", "edits", 1)
end

-- The EXEC has taken effect, but its reply and the link are lost.
function faults.swallow(world)
  local before = world.proxy:count().swallow
  world.proxy:swallow { with = world.draw(2) == 1 and "XGROUP" or "HSET" }
  world:flow(function() return world.proxy:count().swallow > before end, "an EXEC to swallow")
end

local function hold(world, options)
  local before = world.proxy:count().hold
  world.proxy:hold(options)
  world:flow(function() return world.proxy:count().hold > before end, "an EXEC to hold")
end

-- The EXEC arrives at some moment while the link is made anew.
function faults.hold_shortly(world)
  hold(world, { ms = world.draw(25), with = world.draw(3) > 1 and "XGROUP" or nil, whole = world.draw(2) == 1 or nil })
end

-- The EXEC (of a commit, or of an acquire) arrives when its client has gone on without it.
function faults.hold_long(world)
  local fence, commits = world:ctl("fence"), world:commits()
  hold(world, { with = world.draw(3) > 1 and "XGROUP" or "HSET", whole = world.draw(2) == 1 or nil })
  world:flow(is_taken_over(world, fence, commits), "work that goes on without the held EXEC")
  world.proxy:release()
end

-- Redis dies and comes back with its file.
function faults.redis(world)
  world.server:kill()
  world.server:launch()
end

-- Everything is slow, and then the link is gone: more is on its way when it breaks.
function faults.slow_cut(world)
  world.proxy:delay(3)
  world:flow_on(world.draw(200))
  world.proxy:cut()
  world.proxy:delay(0)
end

-- Redis says nothing for longer than a lease lives; what was sent meanwhile is all there when it wakes up.
function faults.silence(world)
  world.server:pause()
  wait.sleep(0.3 + world.draw(300) / 1000)
  world.server:resume()
end

faults.kinds = { "silence", "kill", "zombie", "hold_long", "redis", "swallow", "hold_shortly", "cut", "term", "slow_cut", "kill_all",
  "edit" }

-- A row of `count` kinds: each as often as the others, in a drawn order.
function faults.row(count, draw, kinds)
  local row = {}
  kinds = kinds or faults.kinds
  for i = 1, count do
    row[i] = kinds[(i - 1) % #kinds + 1]
  end
  for i = count, 2, -1 do
    local other = draw(i)
    row[i], row[other] = row[other], row[i]
  end
  return row
end

-- "30 faults: cut 3, kill 4"
function faults.tell(row)
  local counts, names, parts = {}, {}, {}
  for _, kind in ipairs(row) do
    if not counts[kind] then
      names[#names + 1] = kind
    end
    counts[kind] = (counts[kind] or 0) + 1
  end
  table.sort(names)
  for _, name in ipairs(names) do
    parts[#parts + 1] = name .. " " .. counts[name]
  end
  return ("%d faults: %s"):format(#row, table.concat(parts, ", "))
end

faults.now = wait.now

return faults
