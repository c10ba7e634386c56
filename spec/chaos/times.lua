-- times.lua: the oracle's part that knows of time: which timers must have fired and which windows closed, from the entries alone.
--
-- That this can be known is due to how the world feeds. IDs are Redis' own, so an entry that comes after a read has found nothing is
-- above the TIME of that read: a timer (silences.lua) or window of entry IDs (beats.lua) has the same events behind it whether an
-- entry or the clock brought its end. What visits say of their own time is drawn (sessions.lua), and only they move that rule's
-- watermark, up to an event of LAST_TS with which all is over.
local cjson = require "cjson"
local windows = require "spec.support.windows"

local times = { FIRST_TS = 1600000000000, LAST_TS = 1700000000000, rules = { "silences", "beats", "sessions" } }

-- As the rules say.
local DELAY_MS, SIZE_MS, GAP_MS, LATENESS_MS = 10, 50, 25, 100
local CLICKED, BEATEN, VISITED = { s1 = true, s2 = true, s3 = true }, { s4 = true, s5 = true, s6 = true },
  { s7 = true, s8 = true, s9 = true }

-- `is_down(name)`, of a name below, tells whether a worker has ended in this timer or window: then nothing else came of it.
function times.begin(is_down)
  return { is_down = is_down, silences = {}, shops = {}, beats = {}, late = {},
    sessions = windows.model { kind = "session", gap = GAP_MS, lateness = LATENESS_MS } }
end

-- What a letter of a timer or window is called.
function times.name(rule, key, name, due)
  return ("fired %s %s %s %s"):format(due, rule, key, name)
end

local function ms_of(event)
  return tonumber(event.id:match "^%d+")
end

local function text_of(n)
  return ("%.0f"):format(n)
end

-- The timer of a shop, if it is due at `ms`.
local function fire(t, name, ms)
  local shop = t.shops[name]
  local due = shop and shop.due
  if not due or due > ms then
    return
  end
  shop.due = nil
  if not t.is_down(times.name("silences", name, "silence", text_of(due))) then
    shop.fired = shop.fired + 1
    table.insert(t.silences, ("%.0f %s since=%s n=%d fired=%d"):format(due, name, shop.since, shop.n, shop.fired))
  end
end

local function run_silences(t, event, is_down)
  fire(t, event.shop, ms_of(event))
  if is_down "silences" then
    return
  end
  local shop = t.shops[event.shop] or { n = 0, fired = 0 }
  t.shops[event.shop] = shop
  shop.n = shop.n + 1
  shop.due, shop.since = event.type == "click" and ms_of(event) + DELAY_MS or nil, event.id
end

local function run_beats(t, event, is_down)
  if not is_down "beats" then
    local ms = ms_of(event)
    local name = event.shop .. " " .. text_of(ms - ms % SIZE_MS)
    t.beats[name] = (t.beats[name] or 0) + 1
  end
end

local function run_sessions(t, event, is_down)
  t.sessions:advance(event.ts)
  if VISITED[event.shop] and not is_down "sessions" and t.sessions:place(event.ts, event.shop, event.amount or 0) then
    table.insert(t.late, event.id)
  end
end

-- One event, in the order of its stream. `is_down(rule)`: a worker has ended in that rule on it.
function times.run(t, event, is_down)
  if event.stream == "clicks" and CLICKED[event.shop] and (event.type == "click" or event.type == "text") then
    run_silences(t, event, is_down)
  elseif event.stream ~= "clicks" and BEATEN[event.shop] then
    run_beats(t, event, is_down)
  end
  if event.stream == "visits" then
    run_sessions(t, event, is_down)
  end
end

-- The time of everything has come. Returns lists by rule, and the IDs of the late events.
function times.finish(t)
  local lists = { silences = t.silences, beats = {}, sessions = {} }
  for shop in pairs(t.shops) do
    fire(t, shop, math.huge)
  end
  for name, n in pairs(t.beats) do
    local shop, start = name:match "^(%S+) (%S+)$"
    local stop = text_of(tonumber(start) + SIZE_MS)
    if not t.is_down(times.name("beats", shop, start .. "-" .. stop, stop)) then
      table.insert(lists.beats, ("%s %s n=%d"):format(name, stop, n))
    end
  end
  local counts = {}
  for _, line in ipairs(t.sessions:finish()) do
    local shop, start, stop = line:match "^(%S+) (%S+) (%S+)"
    if not t.is_down(times.name("sessions", shop, start .. "-" .. stop, stop)) then
      counts[shop] = (counts[shop] or 0) + 1
      table.insert(lists.sessions, ("%s count=%d"):format(line, counts[shop]))
    end
  end
  table.sort(lists.silences) -- by due time, then shop: as they must be
  table.sort(lists.beats)
  return lists, t.late
end

-- What is, from the entries of the rules' streams: `each(stream, call)` calls with the fields of every one.
function times.read(each)
  local is = { silences = {}, beats = {}, sessions = {} }
  each("silences", function(fields)
    local e = cjson.decode(fields.data)
    table.insert(is.silences, ("%.0f %s since=%s n=%d fired=%d"):format(e.due, e.shop, e.since, e.n, e.fired))
  end)
  each("beats", function(fields)
    local e = cjson.decode(fields.data)
    table.insert(is.beats, ("%s %.0f %.0f n=%d"):format(e.shop, e.start, e.stop, e.n))
  end)
  each("sessions", function(fields)
    local e = cjson.decode(fields.data)
    table.insert(is.sessions, ("%s %.0f %.0f n=%d sum=%d count=%d"):format(e.shop, e.start, e.stop, e.n, e.sum, e.count))
  end)
  table.sort(is.beats)
  return is
end

-- The keys that must be gone when everything has fired and closed.
function times.keys(group)
  local keys = { "EXISTS" }
  for _, name in ipairs { "timers:silences:wall", "timerdata:silences", "timers:beats:window", "windows:beats",
    "timers:sessions:window", "windows:sessions" } do
    keys[#keys + 1] = ("tidemill:%s:%s"):format(group, name)
  end
  return keys
end

return times
