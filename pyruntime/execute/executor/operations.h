/* The vocabulary of plans: code, name, signature of arguments (s string, l list, b bytes, i number).
   pyruntime/plan/operations/ is the same table with what each operation means; a test compares the two. */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#define OPERATIONS(X)                                                                                        \
    X(1, CloseInherited, "i")                                                                                \
    X(2, SetDumpable, "i")                                                                                   \
    X(3, SetOomScore, "ii")                                                                                  \
    X(4, JoinCgroup, "s")                                                                                    \
    X(5, AttachDeviceProgram, "sb")                                                                          \
    X(6, OpenPath, "is")                                                                                     \
    X(7, JoinNamespace, "si")                                                                                \
    X(8, JoinProcess, "ii")                                                                                  \
    X(9, Unshare, "i")                                                                                       \
    X(10, BecomeRoot, "")                                                                                    \
    X(11, Tell, "i")                                                                                         \
    X(12, Await, "i")                                                                                        \
    X(13, WriteFile, "ss")                                                                                   \
    X(14, Clone, "ii")                                                                                       \
    X(15, MakeMappingNamespace, "iss")                                                                       \
    X(16, OpenTree, "isii")                                                                                  \
    X(17, IdmapTree, "iii")                                                                                  \
    X(20, NewSession, "")                                                                                    \
    X(21, JoinKeyring, "si")                                                                                 \
    X(22, RaiseLoopback, "")                                                                                 \
    X(23, SetHostPropagation, "si")                                                                          \
    X(24, MakeParentPrivate, "s")                                                                            \
    X(25, BindRoot, "s")                                                                                     \
    X(26, Mount, "sssisis")                                                                                  \
    X(27, Bind, "ssii")                                                                                      \
    X(28, BindTree, "is")                                                                                    \
    X(29, RemountFlags, "siii")                                                                              \
    X(30, RemountFilesystem, "sis")                                                                          \
    X(31, SetMountAttributes, "siiii")                                                                       \
    X(32, SetPropagation, "sii")                                                                             \
    X(33, MakeDevice, "siiiiis")                                                                             \
    X(34, BindDevice, "ssiii")                                                                               \
    X(35, MakeSymlink, "ssi")                                                                                \
    X(36, MakeDirectory, "si")                                                                               \
    X(37, RunHook, "sisllssiii")                                                                             \
    X(38, PivotRoot, "")                                                                                     \
    X(39, MoveRoot, "")                                                                                      \
    X(40, ChangeRoot, "")                                                                                    \
    X(41, SetRootPropagation, "i")                                                                           \
    X(42, ReopenNullStdio, "")                                                                               \
    X(43, OpenConsole, "iiiii")                                                                              \
    X(44, RemountRootReadonly, "")                                                                           \
    X(45, SetHostname, "s")                                                                                  \
    X(46, SetDomainname, "s")                                                                                \
    X(47, SetSysctl, "ss")                                                                                   \
    X(48, ReadonlyPath, "s")                                                                                 \
    X(49, MaskPath, "s")                                                                                     \
    X(50, SetSecurityAttribute, "ss")                                                                        \
    X(51, NoNewPrivileges, "")                                                                               \
    X(52, ResetAffinity, "")                                                                                 \
    X(53, OwnStandardStreams, "i")                                                                           \
    X(54, ChangeDirectory, "sii")                                                                            \
    X(55, SetUmask, "i")                                                                                     \
    X(56, KeepBounding, "i")                                                                                 \
    X(57, BecomeUser, "iibi")                                                                                \
    X(58, SetCapabilities, "iiii")                                                                           \
    X(59, LoadSeccomp, "bii")                                                                                \
    X(60, FindExecutable, "ss")                                                                              \
    X(61, FindHome, "i")                                                                                     \
    X(62, AwaitStart, "ii")                                                                                  \
    X(63, Execute, "ll")                                                                                     \
    X(64, SetScheduler, "b")                                                                                 \
    X(65, SetIoPriority, "i")                                                                                \
    X(66, SetPersonality, "i")                                                                               \
    X(67, SetMemoryPolicy, "ib")                                                                             \
    X(68, SetAffinity, "b")                                                                                  \
    X(69, CloseOwn, "")                                                                                      \
    X(70, KeepDescriptor, "i")                                                                               \
    X(71, BindHost, "ss")                                                                                    \
    X(72, EnterRoot, "")                                                                                     \
    X(73, Unmount, "s")                                                                                      \
    X(74, AddFilesystem, "sssis")                                                                            \
    X(75, OpenNamespace, "is")                                                                               \
    X(76, SetRlimit, "siii")                                                                                 \
    X(77, OpenDescriptor, "isi")

#define LARGEST_OPERATION 77

#endif
