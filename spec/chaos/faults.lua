-- faults.lua: what can go wrong, one function a kind. Each returns when it has struck, so that what follows is the survival.
--
-- They are drawn from `world.draw`, so that a seed repeats them as far as the machine's timing allows.
local edits = require "spec.chaos.edits"
local tree = require "spec.support.tree"
local files = require "spec.support.files"
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
  local _, place = world:wait_owner()
  world:kill(place)
  world:start(place)
end

-- One of the owner's workers dies; its successor is there at once, long before the lease has expired.
function faults.kill_worker(world)
  local engine = world:wait_owner()
  local fence, commits = world:ctl("fence"), world:commits()
  local workers = tree.workers(engine)
  if #workers > 0 then
    tree.send(workers[world.draw(#workers)], "KILL")
    world:flow(is_taken_over(world, fence, commits), "a worker's successor")
  end
end

-- Both die: nobody is there for a while.
function faults.kill_all(world)
  for place in pairs(world.engines) do
    world:kill(place)
    world:start(place)
  end
end

-- The owner stops, past its lease; the standby takes over and works on; then the zombie wakes up in the middle of what it did.
function faults.zombie(world)
  local engine = world:wait_owner()
  local fence, commits = world:ctl("fence"), world:commits()
  tree.signal(engine, "STOP")
  world:flow(is_taken_over(world, fence, commits + 1), "a takeover from a stopped engine")
  tree.signal(engine, "CONT")
end

-- Only the supervisor stops: its worker gives the partition back, and takes it again later.
function faults.supervisor_stop(world)
  local engine = world:wait_owner()
  local fence, commits = world:ctl("fence"), world:commits()
  engine:signal("STOP")
  world:flow(is_taken_over(world, fence, commits + 1), "a takeover from an engine whose supervisor is stopped")
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

-- What README says to do before a Redis 7.0 that died is started again: when it died in the middle of writing a transaction to
-- its file, it would cut the file but leave the transaction open, and execute it at the start after that.
local function mend_file(world)
  local name = io.popen("ls " .. files.quote(world.server.folder .. "/appendonlydir/") .. "*.incr.aof"):read("*l")
  local said = io.popen("yes | redis-check-aof --fix " .. files.quote(name) .. " 2>&1"):read("*a")
  if not said:find("is valid", 1, true) then
    world.torn = (world.torn or 0) + 1
  end
end

-- Redis dies and comes back with its file.
function faults.redis(world)
  world.server:kill()
  mend_file(world)
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

---- what rules do to the engine ----

-- Inside a rule an abort is evidence, outside of one it is none. Its supervisor's next worker brings the letter, unless another
-- engine was faster, or the rule has been edited meanwhile.
local function abort(world, engine, is_edited)
  local fence, commits, before = world:ctl("fence"), world:commits(), world:blamed()
  local takeovers = world:takeovers_from(engine)
  local workers = tree.workers(engine)
  if #workers == 0 then
    return
  end
  world:abort(workers[world.draw(#workers)])
  world:flow(is_taken_over(world, fence, commits), "the successor of a worker that aborted")
  world:tally "aborts"
  for name in pairs(world:blamed()) do
    if not before[name] then
      world:tally(name:find "^fired" and "aborts in a timer or window" or "aborts in a rule")
      world:flow(function() return world:is_over(name) end, "the end of what is blamed: " .. name)
      world.oracle.owed[name] = not is_edited and world:takeovers_from(engine) == takeovers or nil
    end
  end
end

-- What abort() in C does to one of the owner's workers, at any moment.
function faults.abort(world)
  abort(world, world:wait_owner(), false)
end

-- The same when it is most likely in a rule.
function faults.abort_rule(world, is_edited)
  local first = world:feed_heavy(100)
  world:flow(function() return world:is_past("clicks", first) end, "the first of events that keep a rule busy")
  abort(world, world:wait_owner(), is_edited)
end

local function wait_past(world, id)
  world:flow(function() return world:is_past("clicks", id) end, "the end of bomb " .. id)
end

-- A pattern does not come back; the supervisor ends it.
function faults.hang(world)
  wait_past(world, world:feed_bomb "hang")
end

local function is_running(world, id, times)
  return function()
    return #world:lines("for ever on " .. id) > (times or 0)
  end
end

-- A worker aborts while a pattern does not come back: one of the two reasons it must be.
function faults.abort_pattern(world)
  local id = world:feed_bomb "any"
  world:flow(is_running(world, id), "bomb " .. id)
  local engine = world:owner()
  for _, pid in ipairs(engine and tree.workers(engine) or {}) do
    world:abort(pid)
  end
  wait_past(world, id)
end

-- The whole engine dies each time that it comes to an event, so that nobody is left to tell of it: until ctl.note has told.
function faults.poison(world)
  local id = world:feed_bomb "any"
  local deaths = 0
  while true do
    world:flow(function()
      return world:is_past("clicks", id) or is_running(world, id, deaths)()
    end, "bomb " .. id)
    if world:is_past("clicks", id) then
      return
    end
    deaths = #world:lines("for ever on " .. id)
    local _, place = world:owner()
    if place then
      world:kill(place)
      world:start(place)
      world:tally "deaths of an engine by poison"
    end
  end
end

---- reloads ----

-- Until an event tells that version.
local function wait_version(world, version)
  world:flow(function()
    local last = world.server:call("XREVRANGE", "marks", "+", "-", "COUNT", 1)[1]
    return last and last[2][2]:find(('"version":%q'):format(version), 1, true)
  end, "version " .. version)
end

-- The rules are edited, in one engine after the other, and soon run.
function faults.reload(world)
  local finish = edits.begin(world, world.draw(2) == 1 and { 1, 2 } or { 2, 1 })
  world:flow_on(world.draw(300))
  wait_version(world, finish())
end

-- Something strikes at any moment of a reload.
local function during_reload(strike)
  return function(world)
    local _, place = world:wait_owner()
    local finish = edits.begin(world, ({ { place }, { place, 3 - place }, { 3 - place, place } })[world.draw(3)])
    wait.sleep(world.draw(100) / 1000) -- waits for no fact: a fact is always the same moment of a reload, this is any
    strike(world, true)
    wait_version(world, finish())
  end
end

for _, kind in ipairs { "kill_worker", "abort_rule", "hang", "zombie", "redis", "cut" } do
  faults["reload_" .. kind] = during_reload(faults[kind])
end

faults.kinds = { "silence", "kill", "kill_worker", "zombie", "supervisor_stop", "hold_long", "redis", "swallow", "hold_shortly",
  "cut", "term", "slow_cut", "kill_all", "edit", "abort", "abort_rule", "abort_pattern", "hang", "poison", "reload",
  "reload_kill_worker", "reload_abort_rule", "reload_hang", "reload_zombie", "reload_redis", "reload_cut" }

-- "cut,hang" as a list.
function faults.named(text)
  local kinds = {}
  for kind in text:gmatch "[%w_]+" do
    kinds[#kinds + 1] = faults[kind] and kind or error("no such fault: " .. kind)
  end
  return kinds
end

-- How many commits a fault can leave whose outcome nobody saw: 1 where nothing is said.
local UNSEEN = { poison = 6, reload = 0, reload_hang = 4 }

function faults.most_unverified(row)
  local sum = 0
  for _, kind in ipairs(row) do
    sum = sum + (UNSEEN[kind] or 1)
  end
  return sum
end

local function shuffle(list, draw)
  for i = #list, 2, -1 do
    local other = draw(i)
    list[i], list[other] = list[other], list[i]
  end
  return list
end

-- A row of `count` kinds: each as often as the others, in a drawn order; where there are more kinds than that, drawn ones.
function faults.row(count, draw, kinds)
  local row, all = {}, shuffle({ unpack(kinds or faults.kinds) }, draw)
  for i = 1, count do
    row[i] = all[(i - 1) % #all + 1]
  end
  return shuffle(row, draw)
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
