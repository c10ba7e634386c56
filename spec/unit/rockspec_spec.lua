-- The rockspec lists the test kit, all of it and nothing else.
require "spec.support.runtime"

local PATH = "rockspec/tidemill-scm-1.rockspec"

local function read_rockspec()
  local fields = {}
  local chunk = assert(loadfile(PATH))
  setfenv(chunk, fields)()
  return fields
end

local function file_exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- The modules of ours that are loaded in a LuaJIT of its own, by `code`, with `path` to find modules.
local function loaded_by(code, path)
  local script = ([[package.path = %q
    %s
    for name in pairs(package.loaded) do if name:find "^tidemill" then print(name) end end]]):format(path, code)
  local pipe = assert(io.popen("luajit -e '" .. script:gsub("'", "'\\''") .. "' 2>&1"))
  local names = {}
  for line in pipe:lines() do names[#names + 1] = line end
  pipe:close()
  table.sort(names)
  return names
end

describe("the rockspec", function()
  local rock = read_rockspec()

  it("is named after its file", function()
    assert.equal(PATH:match "([^/]+)%.rockspec$", rock.package .. "-" .. rock.version)
    assert.equal("builtin", rock.build.type)
    assert.same({ "lua == 5.1" }, rock.dependencies)
  end)

  it("lists files that exist, each under the name that it is required by", function()
    for name, path in pairs(rock.build.modules) do
      assert.is_true(file_exists(path), path)
      assert.equal("src/runtime/" .. name:gsub("%.", "/") .. ".lua", path)
    end
  end)

  it("lists what the test kit and tidemill load", function()
    local names = loaded_by([[require "tidemill" require "tidemill.testing"]], "src/runtime/?.lua")
    assert.is_true(#names > 10, table.concat(names, "\n"))
    for _, name in ipairs(names) do assert(rock.build.modules[name], name .. " is not listed") end
  end)

  it("lists every module but the engine's side", function()
    local pipe = assert(io.popen "ls src/runtime/tidemill")
    for line in pipe:lines() do
      local name = "tidemill." .. line:gsub("%.lua$", "")
      assert.equal(name ~= "tidemill.engine", rock.build.modules[name] ~= nil, name)
    end
    pipe:close()
  end)

  it("installs a kit that runs a rule, with no other file of ours in reach", function()
    local folder = os.tmpname()
    os.remove(folder)
    for name, path in pairs(rock.build.modules) do
      local place = folder .. "/" .. name:gsub("%.", "/") .. ".lua"
      os.execute(("mkdir -p '%s' && cp '%s' '%s'"):format(place:match "^(.*)/", path, place))
    end
    local names = loaded_by([[
      local testing = require "tidemill.testing"
      local kit = testing.load { ["a.lua"] = "return { stream = [=[s]=], on_event = function(e, ctx) ctx.emit([=[o]=], e) end }" }
      kit:event("s", { n = 1 })
      assert(kit:effects()[1].fields.n == 1)
    ]], folder .. "/?.lua")
    os.execute(("rm -r '%s'"):format(folder))
    assert.equal("tidemill.call", names[1], table.concat(names, "\n"))
  end)
end)
