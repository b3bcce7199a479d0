# A room is a folder under lib/ with a namespace and a static library of its own.

# eps_room(NAME [FOLDER folder] [DEPS rooms...] [LIBRARIES third-party...])
# A room sees its DEPS and all that they see; nobody else sees its LIBRARIES.
# A room that has headers only is an interface library.
function(eps_room name)
    cmake_parse_arguments(PARSE_ARGV 1 ROOM "" "FOLDER" "DEPS;LIBRARIES")
    if(NOT ROOM_FOLDER)
        set(ROOM_FOLDER ${name})
    endif()
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/lib/${ROOM_FOLDER}/*.cpp)
    list(TRANSFORM ROOM_DEPS PREPEND eps_)
    if(sources)
        add_library(eps_${name} STATIC ${sources})
        target_include_directories(eps_${name} PUBLIC ${CMAKE_SOURCE_DIR}/lib)
        target_link_libraries(eps_${name} PUBLIC eps_third_party ${ROOM_DEPS} PRIVATE ${ROOM_LIBRARIES})
    else()
        add_library(eps_${name} INTERFACE)
        target_include_directories(eps_${name} INTERFACE ${CMAKE_SOURCE_DIR}/lib)
        target_link_libraries(eps_${name} INTERFACE eps_third_party ${ROOM_DEPS})
    endif()
    set_property(GLOBAL APPEND PROPERTY EPS_ROOMS ${name})
    set_property(GLOBAL PROPERTY EPS_FOLDER_OF_${name} ${ROOM_FOLDER})
endfunction()
