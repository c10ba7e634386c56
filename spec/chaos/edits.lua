-- edits.lua: what people and editors do to the rules of a world's engines while those run. No edit changes what a rule does: but
-- each good one has a version of its own, which alpha.lua and omega.lua tell, and the broken ones would show if they ever ran.
--
--   local edits = require "spec.chaos.edits"
--   local finish = edits.begin(world, { 1, 2 })     -- saved, and maybe left broken
--   finish()                                         -- mended, in all places, by a version that is left standing
--
-- Then all places have the same texts, and their folders are whole: an engine may be started, which is refused broken rules.
local files = require "spec.support.files"

local edits = {}

local NAMES = { "alpha", "beats", "checks", "mirror", "omega", "patterns", "refused", "sessions", "shops", "silences", "totals" }

-- As editors do: under another name, and then all at once.
local function save(path, text)
  files.write_file(path .. "~", text)
  assert(os.rename(path .. "~", path))
end

-- As shells do: anybody may see the half of it.
local function save_in_halves(world, path, text)
  local half = math.floor(#text / 2)
  files.write_file(path, text:sub(1, half))
  world:flow_on(world.draw(100))
  files.append_file(path, text:sub(half + 1))
end

local function path_of(world, place, name)
  return ("%s/%s.lua"):format(world:rules(place), name)
end

local function original(name)
  return assert(files.read_file("spec/chaos/rules/" .. name .. ".lua"))
end

local function next_version(world)
  world.edited = (world.edited or 0) + 1
  local version = "v" .. world.edited
  world.oracle.versions[version] = true
  return version, ("-- edited\nreturn %q\n"):format(version)
end

local function commented(world, name)
  world.comments = (world.comments or 0) + 1
  return ("%s-- comment %d\n"):format(original(name), world.comments)
end

local function each_place(world, places, save_one)
  for i, place in ipairs(places) do
    if i > 1 then
      world:flow_on(world.draw(200))
    end
    save_one(place)
  end
end

-- Every place has this version from now on; returns it.
local function save_version(world, places)
  local version, text = next_version(world)
  each_place(world, places, function(place)
    save(path_of(world, place, "lib/version"), text)
  end)
  return version
end

local function draw_name(world)
  return NAMES[world.draw(#NAMES)]
end

local kinds = {}

function kinds.rename(world, places)
  save_version(world, places)
end

function kinds.halves(world, places)
  local name, _, text = draw_name(world), next_version(world)
  each_place(world, places, function(place)
    save_in_halves(world, path_of(world, place, name), commented(world, name))
    save_in_halves(world, path_of(world, place, "lib/version"), text)
  end)
end

-- What would add up wrongly and tell a version that never was good, if it were run: none of it parses to its end.
function kinds.broken(world, places)
  local text, count = original("totals"):gsub("tonumber%(event.amount%)", "2 * %0")
  assert(count == 1)
  each_place(world, places, function(place)
    save(path_of(world, place, "totals"), text .. "}\n")
    save(path_of(world, place, "lib/version"), 'return "broken" +\n')
  end)
end

-- Somebody saves and asks at once, twice; the second time there is nothing new.
function kinds.asked(world, places)
  local _, text = next_version(world)
  each_place(world, places, function(place)
    files.write_file(path_of(world, place, "lib/version"), text)
    world.engines[place]:signal("HUP"):signal("HUP")
  end)
end

-- One save after the other, in all files, faster than anybody could load them; at last SIGHUP beside them.
function kinds.burst(world, places)
  for _ = 1, 4 do
    save_version(world, places)
    each_place(world, places, function(place)
      for _, name in ipairs(NAMES) do
        save(path_of(world, place, name), commented(world, name))
      end
    end)
  end
  world.engines[places[1]]:signal("HUP")
end

-- A rule's file goes away and is back before anybody can have looked: nothing is lost by it.
function kinds.swap(world, places)
  local name = draw_name(world)
  each_place(world, places, function(place)
    local path = path_of(world, place, name)
    assert(os.rename(path, path .. "~"))
    assert(os.rename(path .. "~", path))
  end)
  save_version(world, places)
end

local KINDS = { "rename", "halves", "broken", "asked", "burst", "swap" }

-- Begins an edit of a drawn kind in these places. What it returns mends it everywhere and returns the version that stands then.
function edits.begin(world, places)
  local kind = KINDS[world.draw(#KINDS)]
  world:tally("edit " .. kind)
  kinds[kind](world, places)
  return function()
    each_place(world, { 1, 2 }, function(place)
      for _, name in ipairs(NAMES) do
        if files.read_file(path_of(world, place, name)) ~= original(name) then
          save(path_of(world, place, name), original(name))
        end
      end
    end)
    return save_version(world, { 2, 1 })
  end
end

return edits
