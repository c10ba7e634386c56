-- The rockspec lists the test kit, all of it and nothing else.
require "spec.support.runtime"
local files = require "spec.support.files"
local process = require "spec.support.process"

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
  local modules = rock.build.install.lua

  it("is named after its file", function()
    assert.equal(PATH:match "([^/]+)%.rockspec$", rock.package .. "-" .. rock.version)
    assert.equal("command", rock.build.type)
    assert.same({ "lua == 5.1" }, rock.dependencies)
  end)

  it("lists files that exist, each under the name that it is required by", function()
    for name, path in pairs(modules) do
      assert.is_true(file_exists(path), path)
      assert.equal("src/runtime/" .. name:gsub("%.", "/") .. ".lua", path)
    end
  end)

  it("lists what the test kit and tidemill load", function()
    local names = loaded_by([[require "tidemill" require "tidemill.testing"]], "src/runtime/?.lua")
    assert.is_true(#names > 10, table.concat(names, "\n"))
    for _, name in ipairs(names) do assert(modules[name], name .. " is not listed") end
  end)

  it("lists every module but the engine's side", function()
    local pipe = assert(io.popen "ls src/runtime/tidemill")
    for line in pipe:lines() do
      local name = "tidemill." .. line:gsub("%.lua$", "")
      assert.equal(name ~= "tidemill.engine", modules[name] ~= nil, name)
    end
    pipe:close()
  end)

  -- A folder with the modules of the rock, and nothing else of ours.
  local function installed()
    local folder = files.temp_folder()
    for name, path in pairs(modules) do
      local place = folder .. "/" .. name:gsub("%.", "/") .. ".lua"
      os.execute(("mkdir -p '%s' && cp '%s' '%s'"):format(place:match "^(.*)/", path, place))
    end
    return folder
  end

  it("installs a kit that runs a rule, with no other file of ours in reach", function()
    local folder = installed()
    local names = loaded_by([[
      local testing = require "tidemill.testing"
      local kit = testing.load { ["a.lua"] = "return { stream = [=[s]=], on_event = function(e, ctx) ctx.emit([=[o]=], e) end }" }
      kit:event("s", { n = 1 })
      assert(kit:effects()[1].fields.n == 1)
    ]], folder .. "/?.lua")
    assert.equal("tidemill.call", names[1], table.concat(names, "\n"))
  end)

  it("makes a rock of kit and annotations, and removes it, as luarocks does it", function()
    if os.execute "command -v luarocks >/dev/null" ~= 0 then return pending "luarocks is not installed (scripts/setup test)" end
    local folder = files.temp_folder()
    -- A line of sh, in a copy of the sources that the rock is made of; what it prints.
    local function run(line)
      local pipe = assert(io.popen(("cd '%s' && { %s; } 2>&1; echo $?"):format(folder, line)))
      local out = pipe:read "*a"
      pipe:close()
      assert.equal("0", out:match "(%d+)\n$", out)
      return out
    end
    assert.equal(0, os.execute(("cp -R --parents rockspec scripts src/runtime src/library '%s'"):format(folder)))
    run("luarocks --lua-version 5.1 --tree tree make " .. PATH)
    run "rm -r src scripts build"
    local code = [[require "tidemill.testing"]]
    assert.is_true(#loaded_by(code, folder .. "/tree/share/lua/5.1/?.lua") > 20)
    local library = run("luarocks --lua-version 5.1 --tree tree show --rock-dir tidemill"):match "[^\n]+" .. "/build/library/"
    for _, name in ipairs { "tidemill.lua", "tidemill/window.lua", "tidemill/testing.lua", "tidemill/redis.lua" } do
      assert.is_true(file_exists(library .. name), library .. name)
    end
    run "luarocks --lua-version 5.1 --tree tree remove tidemill"
    assert.is_false(file_exists(folder .. "/tree/share/lua/5.1/tidemill.lua"))
  end)

  it("installs a kit whose specs and cases plain busted runs, without the engine", function()
    local folder = installed()
    local project = files.folder_with {
      ["rules/a.lua"] = "return { stream = 's', on_event = function(e, ctx) ctx.emit('o', e) end }",
      ["spec/a.cases.jsonl"] = '{"name":"good","stream":"s","event":{"n":1},"effects":[{"stream":"o","event":{"n":1}}]}\n'
        .. '{"name":"bad","stream":"s","event":{"n":9007199254740993},"effects":[]}\n',
      ["spec/a_spec.lua"] = [[
        local testing = require "tidemill.testing"
        describe("a", function()
          it("emits", function()
            local kit = testing.load "rules/a.lua"
            kit:event("s", '{"n":1}')
            assert.same({ { stream = "o", fields = { n = 1 } } }, kit:effects())
          end)
          testing.cases "a.cases.jsonl"
        end)]],
    }
    local code, out = process.run({ "sh", "-c", 'exec luajit "$(command -v busted)" -o TAP', folder = project,
      env = { LUA_PATH = folder .. "/?.lua;;", LD_PRELOAD = false, TIDEMILL_LIB = false } }, 20)
    assert.equal(1, code)
    assert.matches("ok 1 - a emits\nok 2 - a good\nnot ok 3 - a bad\n", out, 1, true)
    assert.matches('spec/a.cases.jsonl:2: bad\n# effects%[1%]: not expected {"event":{"n":9007199254740993},"stream":"o"}', out)
  end)
end)
