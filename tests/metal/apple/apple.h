// apple.h: declarations of what the cut-out of ggml-metal-device.m (libraries.m) uses of Apple's frameworks, so that clang checks it as the
// Objective-C that it is. Declarations only: nothing here runs.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define nil ((id) 0)

typedef long          NSInteger;
typedef unsigned long NSUInteger;
typedef signed char   BOOL;
typedef struct { unsigned long state; id __unsafe_unretained * itemsPtr; unsigned long * mutationsPtr; unsigned long extra[5]; } NSFastEnumerationState;

__attribute__((objc_root_class)) @interface NSObject
+ (instancetype) alloc;
+ (instancetype) new;
- (instancetype) init;
- (instancetype) retain;
- (void) release;
@property (readonly) id description;
@end
@interface NSString : NSObject
@property (readonly) const char * UTF8String;
@end
@interface NSNumber : NSObject
+ (NSNumber *) numberWithInt:(int) value;
@end
@interface NSError : NSObject
@end
@interface NSLock : NSObject
@end
@interface NSSet<T> : NSObject
@end
@interface NSDictionary : NSObject
@end
@interface NSMutableDictionary<K, V> : NSDictionary
- (void) setObject:(V) object forKeyedSubscript:(K) key;
@end
@interface NSArray : NSObject
- (NSUInteger) countByEnumeratingWithState:(NSFastEnumerationState *) state objects:(id __unsafe_unretained *) buffer count:(NSUInteger) count;
@end
typedef NSUInteger MTLLanguageVersion;
@interface MTLCompileOptions : NSObject
@property (copy) NSDictionary * preprocessorMacros;
@property MTLLanguageVersion    languageVersion;
@end
@protocol MTLLibrary
@property (readonly) NSArray * functionNames;
@end
@protocol MTLDevice
- (id<MTLLibrary>) newLibraryWithSource:(NSString *) source options:(MTLCompileOptions *) options error:(NSError **) error;
@end

typedef struct dispatch_group * dispatch_group_t;
typedef struct dispatch_queue * dispatch_queue_t;
enum { QOS_CLASS_USER_INITIATED = 0x19 };
#define DISPATCH_TIME_FOREVER (~0ull)
dispatch_group_t dispatch_group_create(void);
dispatch_queue_t dispatch_get_global_queue(long quality, unsigned long flags);
void             dispatch_group_async(dispatch_group_t group, dispatch_queue_t queue, void (^block)(void));
long             dispatch_group_wait(dispatch_group_t group, unsigned long long until);
void             dispatch_release(dispatch_group_t group);
